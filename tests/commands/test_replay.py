"""`lwseg replay`: options, output and exit codes. The live way is in tests/replay/live."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.bag_files import LABEL_TOPIC, image_message, mcap_of, painted_messages, write_messages

from lwseg_ros.cli import main
from lwseg_ros.model.model_file import ModelFile


def test_offline_writes_a_report_and_prints_the_figures(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(3))
    out = tmp_path / "report"
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
    assert main([*arguments, "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 published, 3 segmented, 0 dropped, 0 bad" in printed
    assert "p50 not measured" in printed
    assert f"report: {out / 'report.html'}" in printed
    assert main([*arguments, "-o", str(out), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((out / "report.json").read_text())
    assert figures["miou"] > 0.8


def test_options_of_the_ground_truth(tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    def late(message: Any, stamp: int) -> Any:
        pixels = np.asarray(message.data).reshape(48, 64).copy()
        pixels[0, :10] = 77
        return image_message(pixels + np.where(pixels < 77, 100, 0).astype(np.uint8), stamp + 2_000_000)

    messages = [
        (topic, log_ns, late(message, log_ns) if topic == LABEL_TOPIC else message)
        for topic, log_ns, message in painted_messages(3)
    ]
    bag, out = write_messages(tmp_path / "bag", messages), tmp_path / "out"
    (tmp_path / "map.yaml").write_text("ids: {100: road, 101: tree, 102: sky, 103: car, 104: sign}")
    mask = np.full((48, 64), 255, np.uint8)
    mask[24:] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    arguments = [
        "replay",
        str(bag),
        "--offline",
        "--model",
        str(tiny_model.path),
        "--backend",
        "onnxruntime",
        "-o",
        str(out),
    ]
    assert main(arguments) == 1
    assert "has the stamp of a label; " in (said := capsys.readouterr().err)
    assert "--label-tolerance 2 would pair those that are near" in said
    arguments += ["--label-tolerance", "2"]
    assert main(arguments) == 1
    assert "frame 0: label on /cam/label at 1002000000 ns holds the values [77, 100" in capsys.readouterr().err
    arguments += ["--label-map", str(tmp_path / "map.yaml")]
    assert main(arguments) == 1
    assert "holds the values [77]; accepted are 100 to 104" in capsys.readouterr().err
    arguments += ["--ignore-id", "77", "--mask", str(tmp_path / "mask.png")]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert f"3 of 3 images judged, {3 * (24 * 64 - 10)} pixels, by /cam/label (3 labels: 3 matched" in captured.out
    assert "warning: 3 labels on /cam/label are stamped up to 2 ms from their images" in captured.err
    assert "warning: the mask leaves out 50.0% of the pixels" in captured.err
    figures = json.loads((out / "report.json").read_text())
    assert figures["miou"] > 0.8
    assert figures["truth"]["pixels_ignored"] == 30
    assert figures["truth"]["pixels_masked"] == 3 * 24 * 64
    assert [figures["truth"][key] for key in ("tolerance_ms", "ignore_id")] == [2.0, 77]


@pytest.mark.parametrize(
    ("option", "message"),
    [("--label-tolerance=-1", "'-1' is no time in milliseconds"), ("--ignore-id=256", "from 0 to 255")],
)
def test_senseless_options_of_the_ground_truth_are_wrong_usage(
    tmp_path: Path, option: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path), option, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_without_ground_truth_the_summary_says_so(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1, labels=False))
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    assert "truth        none: nothing was judged" in capsys.readouterr().out


def test_a_recording_that_was_cut_off_is_replayed_as_far_as_it_goes(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, out = mcap_of(tmp_path / "bag.mcap", painted_messages(6), finished=False), tmp_path / "out"
    bag.write_bytes(bag.read_bytes()[:-10])  # within the last label
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
    assert main([*arguments, "-o", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert figures["frames"] == {"published": 6, "segmented": 6, "dropped": 0, "bad": 0, "dropped_by_cause": {}}
    assert figures["miou"] > 0.8
    assert "warning: bag.mcap has no end" in captured.err
    assert "The 17 messages up to there are used; `mcap recover`" in figures["warnings"][0]
    assert figures["warnings"][0].replace("`", "") in (out / "report.html").read_text().replace("`", "")


def test_without_ros_it_says_so_before_anything_starts(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)  # as Python marks what cannot be imported
    bag = write_messages(tmp_path / "bag", painted_messages(1))
    assert main(["replay", str(bag), "--model", str(tiny_model.path), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(
        "lwseg replay: the Python module rclpy is not installed; source a ROS 2 installation, or "
    )


@pytest.mark.parametrize("offline", [True, False])
def test_bad_bags_end_in_one_line_and_exit_code_1(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str], offline: bool
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(3))
    options = [
        "--model",
        str(tiny_model.path),
        "--backend",
        "onnxruntime",
        "-o",
        str(tmp_path / "out"),
        *(["--offline"] if offline else []),
    ]
    cases = {
        str(tmp_path / "nowhere"): "lwseg replay: no bag at",
        str(tmp_path): "holds no metadata.yaml",
    }
    for path, message in cases.items():
        assert main(["replay", path, *options]) == 1
        assert message in capsys.readouterr().err
    assert main(["replay", str(bag), "--topic", "/front", *options]) == 1
    assert "has no image topic '/front'. Topics: /cam/camera_info" in capsys.readouterr().err
    (bag / "bag.mcap").write_bytes((bag / "bag.mcap").read_bytes()[:2000])
    assert main(["replay", str(bag), *options]) == 1
    assert "holds no messages" in (said := capsys.readouterr().err)
    assert "bag.mcap has no end: the recording was cut off" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "nan", "inf"])
def test_a_senseless_rate_is_wrong_usage(tmp_path: Path, rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path), f"--rate={rate}", "-o", str(tmp_path)]) == 2
    assert f"'{rate}' is neither a factor above 0" in capsys.readouterr().err


def test_a_missing_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1))
    assert main(["replay", str(bag), "--model", "no_such_model", "-o", str(tmp_path / "out")]) == 1
    assert "no model 'no_such_model'" in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--help"]) == 0
    assert "example:\n  lwseg replay" in capsys.readouterr().out


def test_requirements_decide_the_exit_code(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, out = write_messages(tmp_path / "bag", painted_messages(3)), tmp_path / "out"
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
    arguments += ["-o", str(out)]
    assert main([*arguments, "--require", "miou>=0.5", "iou.car>=10%", "judged>=3"]) == 0
    assert "verdict      met" in capsys.readouterr().out
    required = ["--require", "miou>=0.999", "latency.p99<=80", "dropped<=0"]
    assert main([*arguments, *required, "--against", str(out), "--junit", str(tmp_path / "ci.xml")]) == 3
    captured = capsys.readouterr()
    assert f"against      {out}: mIoU +0.0000" in captured.out
    assert "not met: miou>=0.999: 0." in captured.err
    assert "not met: latency.p99<=80: not measured" in captured.err
    assert 'failures="2"' in (tmp_path / "ci.xml").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--require", "miuo>=0.6"], "no figure is called 'miuo' in 'miuo>=0.6'; there are, for one, miou"),
        (["--require", "iou.cra>=0.6"], "the model has no class 'cra'"),
        (["--require", "against.differences.miou.low>=0"], "name the other run with --against"),
    ],
)
def test_requirements_that_make_no_sense_are_wrong_usage(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1))
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "-o", str(tmp_path / "out")]
    assert main([*arguments, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there_is_said_before_anything_runs(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1))
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--against", str(tmp_path / "old")]) == 1
    assert "lwseg replay: no run at" in capsys.readouterr().err
