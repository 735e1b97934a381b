"""The report's two files: the JSON that scripts rely on, and an HTML that needs nothing but itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.bag_files import painted_messages, write_messages

from lwseg_ros.errors import LwsegError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.report import charts
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.results import FrameCounts, ReplayResult
from lwseg_ros.segmenter import Segmenter

KEYS = {
    "model": str,
    "backend": str,
    "precision": str,
    "frames": {"published": int, "segmented": int, "dropped": int, "bad": int},
    "rate_hz": float,
    "latency_ms": {"p50": float, "p95": float, "p99": float, "max": float},
    "engine_ms": {"p50": float, "p95": float},
    "engine_hz": float,
    "miou": float,
    "pixel_accuracy": float,
    "per_class_iou": {"road": float, "tree": float, "sky": float, "car": float, "sign": float},
    "uncertainty": {"ece": float, "auroc": float, "aurc": float},
    "temporal_consistency": float,
}


class Checker(HTMLParser):
    """Collect what a browser would fetch, and check that tags close in order."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "data"):
                self.fetched.append(value or "")
        self.pictures += tag == "img"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, tiny_model: ModelFile) -> ReplayResult:
    """An offline replay of five frames, with latencies as if it had been live."""
    path = write_messages(tmp_path_factory.mktemp("report") / "bag", painted_messages(5))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        offline = replay_offline(path, segmenter, num_kept=3)
    return replace(
        offline, latencies_ms=(30.0, 10.0, None, 20.0, 12.0), counts=FrameCounts(5, 4, 1, 0), mode="live node, rate 1"
    )


def test_json_has_exactly_the_agreed_keys(result: ReplayResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "new" / "folder")
    written = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())

    def check(value: object, expected: object) -> None:
        if isinstance(expected, dict):
            assert isinstance(value, dict)
            assert list(value) == list(expected)
            for key in expected:
                check(value[key], expected[key])
        else:
            assert isinstance(value, expected)  # type: ignore[arg-type]

    check(written, KEYS)
    assert written["latency_ms"]["p50"] == 16.0
    assert written["latency_ms"]["max"] == 30.0


def test_html_is_one_file_that_fetches_nothing(result: ReplayResult, tmp_path: Path) -> None:
    page = write_report(result, tmp_path)
    text = page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.pictures == 3 * 4
    assert all(source.startswith("data:image/jpeg;base64,") for source in checker.fetched)
    assert not re.search(r"https?://|url\(|@import|<script", text)
    for expected in ("4 / 5", "1 dropped", "sign", "none: weights set by hand", result.model.sha256, "onnxruntime"):
        assert expected in text
    assert f"{result.figures()['miou'] * 100:.1f} %" in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_what_was_not_measured_is_said_and_texts_are_escaped(result: ReplayResult, tmp_path: Path) -> None:
    unmeasured = replace(result, latencies_ms=(), inference_ms=(), rate_hz=float("nan"), label_topic=None)
    text = write_report(replace(unmeasured, source="<script>bag</script>", kept=()), tmp_path).read_text()
    assert "not measured" in text
    assert "no ground truth" in text
    assert "<h2>Latency</h2>" not in text
    assert "<h2>Frames</h2>" not in text
    assert "&lt;script&gt;bag" in text
    figures_read = json.loads((tmp_path / "report.json").read_text())
    assert figures_read["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert figures_read["rate_hz"] is None


def test_what_was_left_out_of_the_bag_is_said(result: ReplayResult, tmp_path: Path) -> None:
    warned = replace(result, warnings=("bag.mcap has no end", "<b> was played as /_b_"))
    text = write_report(warned, tmp_path).read_text()
    assert "Warning: bag.mcap has no end." in text
    assert "Warning: &lt;b&gt; was played as /_b_." in text
    assert json.loads((tmp_path / "report.json").read_text())["warnings"] == list(warned.warnings)


def test_a_report_that_cannot_be_written(result: ReplayResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LwsegError, match=r"cannot write the report to .*file: .*; choose another with -o"):
        write_report(result, tmp_path / "file")


def test_latency_plot_marks_every_frame() -> None:
    svg = charts.latency_svg([10.0, None, 20.0], 8.0)
    assert svg.count('class="dot"') == 2
    assert svg.count('class="lost"') == 1
    assert "engine p50 8.0 ms" in svg
    curve = re.search(r'class="curve" d="([^"]*)"', svg)
    assert curve is not None
    assert curve[1].count("M") == 2  # a gap where the label is missing
    assert charts.latency_svg([None, None], None) == ""
    assert "p50 5.0 ms" in charts.latency_svg([5.0], None)


def test_error_map_by_hand() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    label = np.array([[0, 1, 1]], np.uint8)
    truth = np.array([[0, 0, 255]], np.uint8)
    right, wrong, ignored = charts.error_map(image, label, truth, 255)[0].tolist()
    assert wrong == list(charts.WRONG_BGR)
    assert ignored == list(charts.IGNORED_BGR)
    assert right[0] == right[1] == right[2] > 100
    assert charts.error_map(image, label, truth, None)[0, 2].tolist() == list(charts.WRONG_BGR)


def test_wide_pictures_are_made_smaller() -> None:
    wide = charts.data_uri(np.random.default_rng(0).integers(0, 255, (200, 1280, 3), dtype=np.uint8))
    narrow = charts.data_uri(np.random.default_rng(0).integers(0, 255, (200, 640, 3), dtype=np.uint8))
    assert len(wide) < len(narrow)
