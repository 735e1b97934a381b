"""`lwseg report`: runs judged anew, and side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.bag_files import painted_messages, write_messages

from lwseg_ros.cli import main
from lwseg_ros.model.model_file import ModelFile


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: ModelFile) -> list[str]:
    """Three runs: of a bag, of the same, and of another."""
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for name, frames in (("one", 3), ("two", 3), ("other", 4)):
        bag = write_messages(folder / f"bag_of_{frames}_{name}", painted_messages(frames))
        if name == "two":
            bag = folder / "bag_of_3_one"
        options = ["--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
        assert main(["replay", str(bag), *options, "-o", str(folder / name)]) == 0
        made.append(str(folder / name))
    return made


def test_one_run_is_judged_anew(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", runs[0]]) == 0
    assert "3 published, 3 segmented" in capsys.readouterr().out
    junit = tmp_path / "junit.xml"
    assert main(["report", runs[0], "--require", "miou>=0.5", "miou>=0.999", "--junit", str(junit), "--json"]) == 3
    figures = json.loads(capsys.readouterr().out)
    assert (figures["verdict"], [each["met"] for each in figures["requirements"]]) == ("not met", [True, False])
    assert 'tests="2" failures="1"' in junit.read_text()


def test_a_run_keeps_its_own_verdict_and_warnings(
    runs: list[str], tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    bag, out = write_messages(tmp_path / "bag", painted_messages(2, labels=False)), str(tmp_path / "out")
    options = ["--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime", "-o", out]
    required = ["--require", "unmatched<=0", "dropped<=0"]
    assert main(["replay", str(bag), str(tmp_path / "gone"), *options, *required]) == 1
    capsys.readouterr()
    assert main(["report", out]) == 3
    captured = capsys.readouterr()
    assert "verdict      not met" in captured.out
    assert "not met: unmatched<=0: not measured" in captured.err
    assert f"warning: {out}: {tmp_path / 'gone'} failed and is not in these figures" in captured.err


def test_runs_are_compared_with_the_first(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    required = ["--require", "against.differences.miou.difference>=0"]
    assert main(["report", *runs[:2], *required, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"{runs[1]} against {runs[0]}: mIoU +0.0000" in printed
    assert "over 3 frames that both judged" in printed
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "All requirements are met" in page
    assert "Frame by frame over the 3 frames" in page
    assert main(["report", *runs, "--json"]) == 0
    same, other = json.loads(capsys.readouterr().out)["runs"]
    assert same["against"]["unpaired_because"] is None
    assert other["against"]["unpaired_because"] == "the bags differ"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["-o", "out"], 2, "-o is for a comparison; name at least two runs"),
        (["--require", "against.differences.miou.low>=0"], 2, "is about a comparison"),
        (["--junit", "ci.xml"], 2, "--junit writes the verdict"),
        (["--require", "iou.cra>=0"], 2, "has no class 'cra'"),
        (["nowhere"], 1, "no run at nowhere: report.json is missing"),
    ],
)
def test_what_makes_no_sense(
    runs: list[str], capsys: pytest.CaptureFixture[str], options: list[str], status: int, message: str
) -> None:
    assert main(["report", runs[0], *options]) == status
    assert message in capsys.readouterr().err
