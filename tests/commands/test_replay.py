"""`lwseg replay`: options, output and exit codes. The live way is in tests/replay/live."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import jsonschema
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from support.bag_files import LABEL_TOPIC, image_message, mcap_of, painted_messages, write_messages
from support.tiny_model import tiny_graph, tiny_manifest

from lwseg_ros.cli import main
from lwseg_ros.commands.replay_series import report_folders
from lwseg_ros.model.model_file import ModelFile, save_model
from lwseg_ros.replay import results
from lwseg_ros.replay.provenance import identify_bag
from lwseg_ros.segmenter import Segmentation, Segmenter


def test_offline_writes_a_report_and_prints_the_figures(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(3))
    out = tmp_path / "report"
    arguments = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
    assert main([*arguments, "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 published, 3 segmented, 0 dropped, 0 bad" in printed
    assert "latency      not measured (offline)\n" in printed
    assert main(["replay", "--help"]) == 0
    assert "--record FILE.mcap|FILE.rrd" in capsys.readouterr().out
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
    digest = hashlib.sha256((tmp_path / "mask.png").read_bytes()).hexdigest()
    assert (figures["truth"]["mask"], figures["truth"]["mask_sha256"]) == (str(tmp_path / "mask.png"), digest)
    assert f"<code>{digest}</code>" in (out / "report.html").read_text()
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


def test_options_of_ground_truth_that_is_not_there(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1, labels=False))
    assert main(offline(tiny_model, bag, "--ignore-id", "3", "-o", tmp_path / "out")) == 0
    assert f"warning: {bag} has no ground truth of /cam/image/compressed: label map, " in capsys.readouterr().err


def test_names_in_the_report_are_text(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'\x1b"
    manifest = tiny_manifest()
    classes = tuple(replace(info, name=info.name + evil) for info in manifest.classes)
    model = save_model(tiny_graph(), replace(manifest, classes=classes, network=evil), tmp_path / "<b>=1+1.onnx")
    bag = write_messages(tmp_path / "<img src=x>", painted_messages(2))
    assert main(offline(model, bag, "--require", "miou>=0", "-o", tmp_path / "out")) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    assert "<b>=1+1" not in page
    ElementTree.parse(tmp_path / "out" / "junit.xml")


def test_names_of_others_move_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clear = "\x1b[2J\x9b1m"
    manifest = tiny_manifest()
    classes = tuple(replace(info, name=info.name + clear) for info in manifest.classes)
    model = save_model(tiny_graph(), replace(manifest, classes=classes, network=clear), tmp_path / f"{clear}.onnx")
    messages = [(topic.replace("/cam", f"/c\n\r{clear}"), *rest) for topic, *rest in painted_messages(2)]
    bag, out = write_messages(tmp_path / f"bag{clear}", messages), tmp_path / f"out{clear}"
    assert main(offline(model, bag, "--require", f"iou.road{clear}>=0.999", "-o", out)) == 3
    assert main(offline(model, bag, "--require", f"iou.{clear}>=0.9", "-o", out)) == 2
    assert main(offline(model, bag, "--topic", f"/{clear}", "-o", out)) == 1
    assert main(["report", str(out), str(out), "--require", f"iou.road{clear}>=0.999"]) == 3
    printed = "".join(capsys.readouterr())
    assert not {character for character in printed if not character.isprintable()} - {"\n", "\r"}  # \r: progress bars
    assert r"by /c\n\r\x1b[2J\x9b1m/label" in printed
    assert r"not met: iou.road\x1b[2J\x9b1m>=0.999: " in printed
    case = ElementTree.parse(out / "junit.xml").getroot()[0][0]
    assert case.attrib["name"] == r"iou.road\x1b[2J\x9b1m>=0.999"
    topics = json.loads((out / "report.json").read_text())["topics"]
    assert topics["image"] == r"/c\n\r\x1b[2J\x9b1m/image/compressed"
    # the name that is shown is the one to ask for
    assert main(offline(model, bag, "--topic", topics["image"], "-o", out)) == 0


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
    arguments = offline(tiny_model, bag)
    assert main([*arguments, "-o", str(out), "--require", "miou>=0.5", "iou.car>=10%", "judged>=3"]) == 0
    assert "verdict      met" in capsys.readouterr().out
    required = ["--require", "miou>=0.999", "latency.p99<=80", "dropped<=0"]
    compared = ["--against", str(out), "-o", str(tmp_path / "next"), "--junit", str(tmp_path / "ci.xml")]
    assert main([*arguments, *required, *compared]) == 3
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
        (["--require", "miou>=60"], "'miou>=60': miou is a share, 0 to 1 or 0 % to 100 %"),
        (["--junit", "ci.xml"], "--junit writes the verdict, and without --require there is none"),
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


def check_schema(figures: object) -> None:
    schema = Path(__file__).parents[2] / "docs" / "report.schema.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(figures)


def offline(model: ModelFile, *arguments: object) -> list[str]:
    return ["replay", "--offline", "--model", str(model.path), "--backend", "onnxruntime", *map(str, arguments)]


def test_several_bags_get_a_report_each_and_one_together(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [write_messages(tmp_path / folder / "bag", painted_messages(n)) for folder, n in (("a", 2), ("b", 3))]
    out = tmp_path / "out"
    assert main(offline(tiny_model, *bags, "--json", "-o", out)) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((out / "report.json").read_text())
    parts = [json.loads((out / name / "report.json").read_text()) for name in ("bag", "bag-2")]
    assert [part["frames"]["segmented"] for part in parts] == [2, 3]
    assert figures["frames"]["segmented"] == figures["truth"]["judged"] == 5
    assert "partial" not in figures
    assert [bag["path"] for bag in figures["bags"]] == [str(bag) for bag in bags]
    check_schema(figures)


def test_requirements_are_judged_on_the_whole_and_on_each_bag(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [write_messages(tmp_path / name, painted_messages(n)) for name, n in (("a", 2), ("b", 3))]
    base, out = tmp_path / "base", tmp_path / "out"
    assert main(offline(tiny_model, *bags, "-o", base)) == 0
    required = ["--require", "judged>=3", "against.differences.miou.difference>=0"]
    assert main(offline(tiny_model, *bags, *required, "--against", base, "-o", out)) == 0
    figures = json.loads((out / "report.json").read_text())
    check_schema(figures)
    assert figures["verdict"] == "met"
    assert figures["against"]["frames"] == {"run": 5, "base": 5}
    assert figures["against"]["unpaired_because"] is None
    parts = [json.loads((out / name / "report.json").read_text()) for name in ("a", "b")]
    assert [part["verdict"] for part in parts] == ["not met", "met"]
    assert [len(part["requirements"]) for part in parts] == [1, 1]  # the comparison is of the whole
    assert 'failures="1"' in (out / "a" / "junit.xml").read_text()
    capsys.readouterr()
    assert main(offline(tiny_model, *bags, "--require", "judged>=6", "-o", out)) == 3
    assert "not met: judged>=6: 5 is not >= 6" in capsys.readouterr().err


def test_a_partial_replay_meets_nothing_and_is_no_verdict_on_the_model(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, out = write_messages(tmp_path / "a", painted_messages(2)), tmp_path / "out"
    for bound in ("0", "0.999"):
        assert main(offline(tiny_model, bag, tmp_path / "gone", "--require", f"miou>={bound}", "-o", out)) == 1
        figures = json.loads((out / "report.json").read_text())
        check_schema(figures)
        assert figures["verdict"] == "not met"
        assert "but the replay is partial, so it is not known to be" in capsys.readouterr().err
    assert json.loads((out / "a" / "report.json").read_text())["requirements"][0]["met"] is False


def test_the_run_to_compare_with_is_not_overwritten(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [write_messages(tmp_path / name, painted_messages(2 + len(name))) for name in ("a", "bb")]
    out = tmp_path / "out"
    assert main(offline(tiny_model, *bags, "-o", out)) == 0
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    (tmp_path / "link").symlink_to(out)
    for command in (
        offline(tiny_model, tmp_path / "gone", "--against", out, "-o", tmp_path / "x" / ".." / "link"),
        offline(tiny_model, *bags, "--against", out / "bb", "-o", out),
        ["demo", "--against", str(out), "-o", str(out)],
    ):
        capsys.readouterr()
        assert main(command) == 2
        assert "would be overwritten by the report; choose another folder with -o" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
def test_a_bag_that_fails_is_named_and_the_others_stand(
    tmp_path: Path,
    tiny_model: ModelFile,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: list[str],
) -> None:
    if workers:
        pytest.importorskip("distributed", reason="Dask is not installed: pip install 'lwseg_ros[fleet]'")
    identified: list[Path] = []
    monkeypatch.setattr(results, "identify_bag", lambda path: identified.append(path) or identify_bag(path))
    bags = [write_messages(tmp_path / name, painted_messages(n)) for name, n in (("a", 2), ("b", 3))]
    out = tmp_path / "out"
    assert main(offline(tiny_model, bags[0], tmp_path / "gone", bags[1], *workers, "--json", "-o", out)) == 1
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert identified == ([] if workers else bags)  # once, by the process that judges it
    assert [bag["path"] for bag in figures["bags"]] == [str(bag) for bag in bags]
    assert [bag["sha256"] for bag in figures["bags"]] == [identify_bag(bag).sha256 for bag in bags]
    assert f"lwseg replay: {tmp_path / 'gone'} failed: no bag at" in captured.err
    assert figures["partial"] is True
    assert figures["frames"]["segmented"] == 5
    assert figures["warnings"][0].startswith(f"{tmp_path / 'gone'} failed and is not in these figures: no bag at")
    assert "failed and is not in these figures" in (out / "report.html").read_text()
    written = ["a", "b", "frames.csv", "report.html", "report.json", "rows.npz"]
    assert sorted(path.name for path in out.iterdir()) == written
    check_schema(figures)


def test_a_copy_of_a_bag_does_not_count_twice(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag, out = write_messages(tmp_path / "a", painted_messages(2)), tmp_path / "out"
    assert main(offline(tiny_model, bag, next(bag.glob("*.mcap")), "--require", "miou>=0", "-o", out)) == 1
    figures = json.loads((out / "report.json").read_text())
    assert (figures["truth"]["judged"], figures["verdict"]) == (2, "not met")
    assert f"it holds the same as {bag}, and would count twice" in figures["warnings"][0]


def test_a_verdict_of_an_earlier_run_does_not_stay(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag, out = write_messages(tmp_path / "a", painted_messages(2)), tmp_path / "out"
    for junit, there in (((), True), (("--junit", tmp_path / "ci.xml"), False)):
        assert main(offline(tiny_model, bag, "--require", "miou>=0", *junit, "-o", out)) == 0
        assert (out / "junit.xml").exists() is there
    assert main(offline(tiny_model, bag, "--require", "miou>=0", "-o", out)) == 0
    assert main(offline(tiny_model, bag, "-o", out)) == 0
    assert not (out / "junit.xml").exists()


def test_a_run_judged_by_another_mask_is_not_compared(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, base, out = write_messages(tmp_path / "a", painted_messages(2)), tmp_path / "base", tmp_path / "out"
    mask = np.full((48, 64), 255, np.uint8)
    mask[24:] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert main(offline(tiny_model, bag, "-o", base)) == 0
    compared = ["--mask", tmp_path / "mask.png", "--against", base, "-o", out]
    assert main(offline(tiny_model, bag, *compared, "--require", "against.differences.miou.difference>=-1")) == 3
    said = capsys.readouterr().err
    assert "warning: not compared: " in said
    digest = hashlib.sha256((tmp_path / "mask.png").read_bytes()).hexdigest()
    assert f"judged other pixels, in frame 0 1536 and 3072 (mask: {digest[:12]} and False)" in said
    assert main(["report", str(base), str(out)]) == 1


def test_without_any_bag_there_is_no_report(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(offline(tiny_model, tmp_path / "gone", tmp_path / "lost", "-o", tmp_path / "out")) == 1
    assert "none of the 2 bags was replayed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("num_bags", [1, 2])
def test_an_interrupted_replay_leaves_a_partial_report(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, num_bags: int
) -> None:
    bags = [write_messages(tmp_path / f"bag{n}", painted_messages(20)) for n in range(num_bags)]
    segmented: list[object] = []
    segment = Segmenter.segment

    def interrupt_at_third(self: Segmenter, images: Sequence[np.ndarray], **options: str) -> list[Segmentation]:
        segmented.append(images)
        if len(segmented) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return segment(self, images, **options)

    monkeypatch.setattr(Segmenter, "segment", interrupt_at_third)
    out = tmp_path / "out"
    record = ["--record", out / "r.mcap"] if num_bags == 1 else []
    assert main(offline(tiny_model, *bags, *record, "-o", out)) == 1
    figures = json.loads((out / "report.json").read_text())
    check_schema(figures)
    assert figures["partial"] is True
    assert 3 <= figures["frames"]["published"] == figures["frames"]["segmented"] < 20
    assert figures["miou"] > 0.8
    said = f"interrupted: this is of the first {figures['frames']['published']} of 20 images only"
    page = (out / "report.html").read_text()
    assert said in page
    if num_bags == 1:
        assert figures["warnings"] == [said]
        with AnyReader([out / "r.mcap"]) as reader:
            assert reader.topics["/segment/label"].msgcount == figures["frames"]["segmented"]
    else:
        assert figures["warnings"] == [
            f"interrupted: {bags[1]} was not replayed and is not in these figures",
            f"{bags[0]}: {said}",
        ]


def test_options_that_do_not_go_together_are_wrong_usage(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    cases = {
        (one, other, "--workers", "2"): "--workers and --scheduler go with --offline",
        (one, "--scheduler", "tcp://localhost:8786"): "--workers and --scheduler go with --offline",
        (one, other, "--offline", "--record", "r.mcap"): "--record writes the predictions of one bag",
        (one, "--record", "r.bag"): "'r.bag' ends with none of .mcap, .rrd",
        (one, tmp_path / "x" / ".." / "one"): "is given twice, and would count twice",
        (one, "--max-gap", "0"): "'0' is not a number above 0",
        (one, "--workers", "0"): "'0' is not a whole number of at least 1",
        (one, "--workers", "1", "--scheduler", "x"): "not allowed with argument",
    }
    for arguments, message in cases.items():
        assert main(["replay", "--model", str(tiny_model.path), *map(str, arguments), "-o", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_report_folders_are_named_after_their_bags(tmp_path: Path) -> None:
    paths = [Path("a/drive"), Path("b/drive"), Path("drive.mcap"), Path("x.db3"), Path("drive.bag"), Path("drive-2")]
    assert report_folders(paths) == ["drive", "drive-2", "drive-3", "x", "drive-4", "drive-2-2"]
