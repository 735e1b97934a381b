"""`lwseg soak`: options, output and exit codes. The soak itself is in tests/replay/live."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lwseg_ros.cli import main
from lwseg_ros.commands import soak
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.soak_results import Sample, SoakCounts, SoakResult


@pytest.fixture
def result(tiny_model: ModelFile) -> SoakResult:
    samples = tuple(Sample(s, 300 + s / 3600, 20, 15, 50.0, 15 * s, 14 * s, 10.0, 20.0) for s in range(120))
    counts = SoakCounts(1800, 1700, 1700, 0, 1799, 1700, {"superseded": 90, "stale": 0, "bad": 9}, 1)
    return SoakResult("bag", tiny_model, 2.0, 15.0, 120.0, samples, [10.0] * 1700, counts, {}, {"ok": 119}, ())


def arguments(model: ModelFile, out: Path) -> list[str]:
    return ["soak", "--model", str(model.path), "--backend", "onnxruntime", "-o", str(out)]


def with_result(monkeypatch: pytest.MonkeyPatch, result: SoakResult) -> None:
    monkeypatch.setattr(soak, "run_soak", lambda *_args, **_options: result)


def test_a_line_tells_all(
    tmp_path: Path, tiny_model: ModelFile, result: SoakResult, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with_result(monkeypatch, result)
    assert main(arguments(tiny_model, tmp_path)) == 0
    line, picture = capsys.readouterr().out.splitlines()
    assert line == (
        "2.0 minutes, 1800 published = 1700 segmented + 99 dropped (90 superseded, 9 bad) + 1 lost in transport "
        "(1 reported); 14.2 Hz; latency p50 10.0, p99 10.0, max 10.0 ms; "
        "after the first 24 s memory 300.0 to 300.0 MB (+1.00 MB/hour), threads 20 to 20, handles 15 to 15"
    )
    assert picture == f"picture: {tmp_path / 'soak.svg'}"
    assert main([*arguments(tiny_model, tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result.figures()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"failure": "the node process ended with exit code -9"},
            "lwseg soak: the node process ended with exit code -9",
        ),
        ({"counts": SoakCounts(9, 8, 9, 0, 9, 9, {}, 0)}, "lwseg soak: the node segmented 9 images and 8 labels came"),
        ({"interrupted": True}, "lwseg soak: interrupted; the figures are partial"),
    ],
)
def test_what_is_wrong_ends_in_exit_code_1_with_the_reason_and_the_files(
    tmp_path: Path,
    tiny_model: ModelFile,
    result: SoakResult,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    changes: dict[str, Any],
    said: str,
) -> None:
    changed = replace(result, **changes)
    with_result(monkeypatch, changed)
    assert main(arguments(tiny_model, tmp_path)) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == said
    assert captured.out.startswith("partial: ") == changed.figures()["partial"]
    assert json.loads((tmp_path / "soak.json").read_text())["faults"] == changed.faults


@pytest.mark.parametrize("option", ["--minutes", "--rate"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "long", ""])
def test_senseless_numbers_are_wrong_usage(tmp_path: Path, option: str, value: str, capsys: Any) -> None:
    assert main(["soak", f"{option}={value}", "-o", str(tmp_path / "out")]) == 2
    assert f"{value!r} is not a number above 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_told_before_anything_starts(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(soak, "run_soak", lambda *_args, **_options: pytest.fail("it was started"))
    (tmp_path / "file").touch()
    assert main(arguments(tiny_model, tmp_path / "file")) == 1
    assert main(arguments(tiny_model, tmp_path / "file" / "below")) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert main(["soak", "--model", "no_such_model", "-o", str(tmp_path / "out")]) == 1
    assert "no model 'no_such_model'" in capsys.readouterr().err


def test_without_ros_it_says_so(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)  # as Python marks what cannot be imported
    assert main(arguments(tiny_model, tmp_path)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("lwseg soak: the Python module rclpy is not installed; source a ROS 2 installation, or `pip")


def test_help_shows_an_example(capsys: Any) -> None:
    assert main(["soak", "--help"]) == 0
    assert "example:\n  lwseg soak" in capsys.readouterr().out


def test_a_verdict_that_nobody_would_give_is_not_taken(tiny_model: ModelFile, tmp_path: Path) -> None:
    assert main([*arguments(tiny_model, tmp_path), "--require", "miou>=0.6"]) == 2
