"""`lwseg table`: trains, exports, measures and tabulates; goes on where it stopped and past what fails."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from lwseg_training.commands import table as command
from lwseg_training.engine.fit import TrainingStoppedError
from lwseg_training.experiments.table.rows import SHORT_RUN, Row
from support.camvid_miniature import write_miniature, write_recipe

from lwseg_ros.backends import BackendOptions, load_runtime
from lwseg_ros.cli import main
from lwseg_ros.datasets import DATASETS
from lwseg_ros.model.model_file import load_model

MARKERS = "# A project\n\n<!-- table: by lwseg table -->\nold\n<!-- /table -->\n\nThe end.\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_miniature(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipes, of which one fails, and `runs`, the table of them."""
    folder = tmp_path_factory.mktemp("table")
    write_recipe(folder / "long.yaml", schedule={"steps": 4})
    write_recipe(folder / "short.yaml", schedule={"steps": 4}, note="short run", seed=1)
    write_recipe(folder / "broken.yaml", network={"name": "dwrseg_b", "options": {"wings": 2}})
    (folder / "README.md").write_text(MARKERS)
    assert table(folder, data, "long", "broken", "short", "--hold-out", "0006R0", "--readme") == 1
    return folder


def table(folder: Path, data: Path, *arguments: str) -> int:
    """Run the command on recipes by name; a bare `--readme` at the end means the folder's README.md."""
    words = [str(folder / f"{a}.yaml") if (folder / f"{a}.yaml").is_file() else a for a in arguments]
    if words[-1:] == ["--readme"]:
        words.append(str(folder / "README.md"))
    return main(
        ["table", *words, "--data", str(data), "--out", str(folder / "runs"), "--seconds", "0.1", "--device", "cpu"]
    )


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads((folder / "runs" / "table.json").read_text())["rows"]}


def files_in(folder: Path) -> dict[str, int]:
    """The time of the last change of what took long to make."""
    kept = (".pt", ".onnx", "latency.json")
    return {
        str(path): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.name.endswith(kept) or path.parent.name == "figures"
    }


def test_rows_hold_what_was_trained_and_measured(made: Path) -> None:
    rows = rows_of(made)
    assert list(rows) == ["long", "broken", "short"]
    for name in ("long", "short"):
        row = rows[name]
        summary = json.loads((made / "runs" / name / "summary.json").read_text())
        held_out = json.loads((made / "runs" / "compare" / name / "0006R0" / "summary.json").read_text())
        assert row["network"] == "dwrseg_b"
        assert (row["steps"], row["images_seen"], row["images"]) == (4, 16, 3)
        assert row["hardware"] == summary["hardware"]
        assert row["training_seconds"] == pytest.approx(summary["training_seconds"], abs=0.1)
        assert row["input_size_hw"] == [64, 96]
        assert row["multiply_adds"] > row["parameters"] > 1e5
        assert 0 < row["miou"] < 1
        assert row["held_out"] == {"0006R0": held_out["last"]["miou"]}
        assert held_out["evaluated_on"] == "held out 0006R0"
        fitted = load_model(made / "runs" / "models" / f"{name}.onnx").manifest.held_out["sequences"]["0006R0"]
        assert (row["held_out_ece"], row["held_out_auroc"]) == ({"0006R0": fitted["ece"]}, {"0006R0": fitted["auroc"]})
        assert row["cpu"]["runtime"] == "openvino"
        assert row["cpu"]["latency_ms"]["p50"] > 0
        assert row["equal_budget"] == "A"
        assert row["fault"] == ""
    assert (rows["long"]["short_run"], rows["short"]["short_run"]) == (False, True)
    if not load_runtime("tensorrt").probe(BackendOptions()).available:
        assert rows["long"]["gpu"] is None


def test_a_recipe_that_fails_is_marked_and_the_rest_is_there(made: Path) -> None:
    broken = rows_of(made)["broken"]
    assert "does not take the options {'wings': 2}" in broken["fault"]
    assert (broken["miou"], broken["parameters"], broken["cpu"]) == (None, None, None)
    text = (made / "runs" / "table.md").read_text()
    assert "| `dwrseg_b` | `broken` | failed |" in text
    assert "`broken` failed: network 'dwrseg_b' does not take" in text
    assert "| `dwrseg_b` | `short` | short run, 4 steps, " in text
    assert "](accuracy_latency.png)" in text
    assert str(made) not in text
    assert cv2.imread(str(made / "runs" / "accuracy_latency.png")) is not None
    assert (made / "README.md").read_text() == MARKERS, "no README shows a failure"


def test_what_is_finished_is_read_and_a_readme_gets_the_table(
    made: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, rows = files_in(made / "runs"), rows_of(made)
    arguments = ("long", "short", "--hold-out", "0006R0", "--no-training")
    assert table(made, data, *arguments, "--json", "--readme") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((made / "runs" / "table.json").read_text())
    assert printed["command"] == "lwseg table long short --data DIR --hold-out 0006R0"
    assert printed["rows"] == [rows["long"], rows["short"]]
    assert files_in(made / "runs") == before, "nothing was trained, exported or measured again"

    readme = (made / "README.md").read_text()
    assert re.sub(r"(?s)(table -->\n).*(<!-- /table)", r"\1old\n\2", readme) == MARKERS
    assert "| `dwrseg_b` | `long` | 4 steps, " in readme
    assert f"Made by `{printed['command']}` on {printed['date']}, latency on " in readme
    assert "](docs/images/accuracy_latency.png)" in readme
    picture = made / "docs" / "images" / "accuracy_latency.png"
    assert picture.read_bytes() == (made / "runs" / "accuracy_latency.png").read_bytes()
    assert table(made, data, *arguments, "--readme") == 0
    assert (made / "README.md").read_text() == readme


def test_a_newer_checkpoint_is_exported_again_and_latency_measured_when_asked(made: Path, data: Path) -> None:
    run, latency = made / "runs" / "long", made / "runs" / "latency.json"
    model_before, latency_before = (
        (made / "runs" / "models" / "long.onnx").stat().st_mtime_ns,
        latency.stat().st_mtime_ns,
    )
    (run / "last.pt").touch()
    assert table(made, data, "long", "--no-training", "--no-latency") == 0
    assert (made / "runs" / "models" / "long.onnx").stat().st_mtime_ns > model_before
    assert latency.stat().st_mtime_ns == latency_before
    assert rows_of(made)["long"]["cpu"] is None
    assert not (made / "runs" / "accuracy_latency.png").exists(), "there is no latency to draw"
    assert table(made, data, "long", "--no-training", "--remeasure") == 0
    assert latency.stat().st_mtime_ns > latency_before


def test_models_without_a_run_are_rows_too(
    made: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made / "runs" / "models" / "short.onnx"
    command = ["table", "--models", str(model), "--data", str(data), "--out", str(tmp_path / "runs"), "--no-latency"]
    assert main(command) == 0
    (row,) = rows_of(tmp_path).values()
    assert (row["name"], row["network"], row["note"], row["hardware"]) == ("short.onnx", "dwrseg_b", "short run", "")
    assert row["miou"] == pytest.approx(rows_of_model(made)["miou"])
    assert "Made by `lwseg table --models short.onnx --data DIR --no-latency`" in capsys.readouterr().out


def rows_of_model(folder: Path) -> dict[str, Any]:
    """The kept figures of the recipe `short`."""
    (kept,) = (folder / "runs" / "figures").glob("short-*.json")
    figures: dict[str, Any] = json.loads(kept.read_text())
    return figures


def test_an_unfinished_run_is_a_failure_without_training(
    made: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recipe(tmp_path / "never.yaml")
    assert table(tmp_path, data, "never", "--no-training") == 1
    assert "never (no finished run of this recipe in " in capsys.readouterr().err
    assert rows_of(tmp_path)["never"]["network"] == "dwrseg_b"


def test_refuses_what_makes_no_sense_before_any_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "orchard", DATASETS["folder"])  # one without shipped recipes
    write_recipe(tmp_path / "a.yaml")
    write_recipe(tmp_path / "b.yaml", dataset={"name": "cityscapes"})
    (tmp_path / "README.md").write_text("no markers")
    for arguments, message in (
        (("a", "a"), "a would be in the table twice"),
        (("a", "nowhere"), "no recipe 'nowhere'"),
        (("a", "--models", "nowhere.onnx"), "nowhere"),
        (("a", "b"), "do not belong in one table (a: camvid val; b: cityscapes val)"),
        (("--dataset", "orchard"), "there is nothing to tabulate"),
        (
            ("synergy_dwrseg_b_camvid",),
            "synergy_dwrseg_b_camvid starts from runs/dwrseg_b_camvid/last.pt, but runs are put",
        ),
        (("a", "--readme"), "README.md needs `<!-- table: ... -->` once (0 found)"),
    ):
        assert table(tmp_path, data, *arguments) == 1
        assert message in capsys.readouterr().err
    assert main(["table", "pilot", "--seconds", "0"]) == 2
    assert not (tmp_path / "runs").exists()


def test_a_signal_ends_the_command_and_other_failures_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    row = Row("a")
    with command.keeping_on(row):
        raise OSError("the disk is full")
    with command.keeping_on(row):
        raise ZeroDivisionError("by zero")
    assert row.fault == "the disk is full; ZeroDivisionError: by zero"
    assert "Traceback" in capsys.readouterr().err, "what nobody foresaw shows where it came from"
    with pytest.raises(TrainingStoppedError), command.keeping_on(row):
        raise TrainingStoppedError("stopped at step 3")


def test_without_recipes_the_shipped_ones_for_the_data_set_are_taken() -> None:
    args = argparse.Namespace(recipes=[], models=[], dataset="camvid", out=Path("runs"))
    recipes = {entry.row.name: entry.recipe for entry in command.planned(args)}
    assert {"dwrseg_b_camvid", "dwrseg_l_camvid_paper", "lemore_camvid", "pilot"} <= set(recipes)
    short = {name for name, recipe in recipes.items() if recipe is not None and SHORT_RUN in recipe.note}
    assert short == {
        f"{network}_camvid_short" for network in ("dwrseg_b", "dwrseg_l", "pmsdsen", "lemore", "lite_seg0")
    }
    args.models = ["lite_seg0_camvid"]
    assert [entry.row.name for entry in command.planned(args)] == ["lite_seg0_camvid.onnx"]


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--help"]) == 0
    assert "example:\n  lwseg table " in capsys.readouterr().out
