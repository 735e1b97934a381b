"""The picture and the JSON of a soak."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.report.soak import LEFT, RIGHT, WIDTH, axis, soak_svg, thinned, write_soak
from lwseg_ros.replay.soak_results import Sample, SoakCounts, SoakResult

SVG = "{http://www.w3.org/2000/svg}"


def soak(model: ModelFile, seconds: int) -> SoakResult:
    """A soak whose memory rises by 36 MB an hour after a steep start, without labels in every tenth second."""
    samples = tuple(
        Sample(
            time_s=float(s),
            rss_mb=100.0 + 150 * (s > 3) + 0.01 * s,
            threads=25,
            handles=19 + (s == seconds // 2),
            cpu_percent=float(s % 50) if s else None,
            published=15 * s,
            labels=14 * s,
            latency_p50_ms=None if s % 10 == 0 else 20.0,
            latency_max_ms=None if s % 10 == 0 else 60.0,
        )
        for s in range(seconds)
    )
    count = 15 * seconds
    counts = SoakCounts(count, count - 9, count - 9, 0, count - 2, count - 9, {"bad": 7}, 0)
    return SoakResult(
        "bag", model, seconds / 60, 15.0, float(seconds), samples, [20.0] * seconds, counts, {}, {"ok": seconds}, ()
    )


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_the_picture_stands_alone_and_holds_the_figures(tiny_model: ModelFile) -> None:
    svg = soak_svg(soak(tiny_model, 400))
    root = ElementTree.fromstring(svg)
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "+36.00 MB/hour" in texts
    assert any("6000 images = 5991 segmented + 7 dropped + 2 lost on their way" in str(text) for text in texts)
    curves = [path for path in root.iter(f"{SVG}path") if path.get("class") != "slope"]
    assert len(curves) == 6
    for path in curves:
        assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in numbers(path.get("d", "")))
    latency = curves[-1].get("d", "")
    assert latency.count("M") == 40  # a gap where no label came
    (slope,) = [path for path in root.iter(f"{SVG}path") if path.get("class") == "slope"]
    (x0, y0), (x1, y1) = numbers(slope.get("d", ""))
    assert x0 > LEFT + 0.19 * (WIDTH - LEFT - RIGHT)
    assert (x1, y1 < y0) == (pytest.approx(WIDTH - RIGHT, abs=3), True)


def test_names_cannot_break_the_picture(tiny_model: ModelFile) -> None:
    renamed = replace(tiny_model, path=Path('a<b>&"c.onnx'))
    ElementTree.fromstring(soak_svg(replace(soak(tiny_model, 5), model=renamed)))


@pytest.mark.parametrize("seconds", [0, 1, 2, 451, 5000])
def test_of_any_length_it_is_drawn_and_stays_small(tiny_model: ModelFile, seconds: int) -> None:
    svg = soak_svg(soak(tiny_model, seconds))
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert len(svg) < 60_000


def test_both_files_are_written(tmp_path: Path, tiny_model: ModelFile) -> None:
    result = soak(tiny_model, 70)
    assert write_soak(result, tmp_path) == tmp_path / "soak.svg"
    written = json.loads((tmp_path / "soak.json").read_text())
    assert written.pop("samples") == result.series()
    assert written == result.figures()
    assert {file.name for file in tmp_path.iterdir()} == {"soak.json", "soak.svg"}


@pytest.mark.parametrize(
    ("values", "from_zero", "expected"),
    [
        ([334.0, 334.8], False, (334.0, 336.0, 2.0)),
        ([25, 25], True, (0, 30, 10)),
        ([0.4, 97.0], True, (0, 120, 40)),
        ([], True, (0.0, 1.0, 1.0)),
        ([0.0], False, (0.0, 1.0, 1.0)),
    ],
)
def test_axes_are_round(values: list[float], from_zero: bool, expected: tuple[float, float, float]) -> None:
    assert axis(values, from_zero=from_zero) == pytest.approx(expected)


@pytest.mark.parametrize("from_zero", [True, False])
@pytest.mark.parametrize("least", [1e-6, 0.3, 7.0, 312.7, 1e9])
@pytest.mark.parametrize("ratio", [1.0, 1.0001, 1.3, 55.0])
def test_all_values_lie_on_the_axis_and_its_steps_are_few(least: float, ratio: float, from_zero: bool) -> None:
    low, high, step = axis([least, least * ratio], from_zero=from_zero)
    assert low <= least
    assert high >= least * ratio * (1 - 1e-9)
    count = (high - low) / step
    assert 1 <= count <= 5
    assert math.isclose(count, round(count))


def test_thinning_keeps_peaks_and_gaps() -> None:
    assert thinned([1, 9, 2, None, None, None, 5], 3) == [9, None, 5]
    assert thinned([1, None, 3], 1) == [1, None, 3]
    assert thinned([], 4) == []
