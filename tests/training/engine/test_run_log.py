"""The log of a run: one JSON line an entry, cut back on resume, drawn as a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import pytest
from lwseg_training.engine.run_log import RunLog

from lwseg_ros.errors import RecipeError


def test_entries_are_json_lines(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.append(step=1, loss=0.5)
    log.append(step=2, loss=0.25, miou=None)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "miou": None}]
    assert log.series("loss") == ([1, 2], [0.5, 0.25])
    assert log.series("miou") == ([], [])


def test_figures_that_are_not_finite_are_null(tmp_path: Path) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    log = RunLog(tmp_path / "log.jsonl")
    log.append(step=1, loss=float("nan"), grad_norm=float("inf"))
    entry = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=refuse)
    assert entry == {"step": 1, "loss": None, "grad_norm": None}


@pytest.mark.parametrize("torn", ["", '{"step": 3, "lo', "\n"])
def test_resume_drops_what_came_after_and_torn_lines(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    before = RunLog(path)
    for step in (1, 2, 3):
        before.append(step=step, loss=1 / step)
    with path.open("a") as file:
        file.write(torn)
    log = RunLog(path)
    log.resume(2)
    log.append(step=3, loss=9.0)
    assert [entry["step"] for entry in log.entries] == [1, 2, 3]
    assert [json.loads(line)["loss"] for line in path.read_text().splitlines()] == [1.0, 0.5, 9.0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["log.jsonl"]


def test_resume_without_a_log_starts_an_empty_one(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.resume(5)
    assert log.entries == []
    assert (tmp_path / "log.jsonl").read_text() == ""


def test_tensorboard_gets_every_number_and_forgets_what_came_after(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = tmp_path / "tensorboard"
    log = RunLog(tmp_path / "log.jsonl", events)
    log.resume(0)
    for step in (1, 2, 3):
        log.append(step=step, loss=1 / step, per_class_iou={"car": 0.25 * step, "sky": None}, grad_norm=float("nan"))
    resumed = RunLog(tmp_path / "log.jsonl", events)
    resumed.resume(2)
    resumed.append(step=3, loss=9.0)
    read = accumulator.EventAccumulator(str(events))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["loss", "per_class_iou/car"]
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert [event.value for event in read.Scalars("per_class_iou/car")] == [0.25, 0.5]


def test_without_tensorboard_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(RecipeError, match=r"'tensorboard' is not installed; `pip install './training\[tensorboard\]'`"):
        RunLog(tmp_path / "log.jsonl", tmp_path / "tensorboard").resume(0)


def test_curves_are_a_picture_also_of_few_entries(tmp_path: Path) -> None:
    figures = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
    log = RunLog(tmp_path / "log.jsonl")
    log.draw(tmp_path / "empty.png", "nothing yet", figures)
    for step in range(1, 20):
        log.append(step=step, loss=1 / step, lr=0.1, miou=step / 40, pixel_accuracy=step / 20)
    log.draw(tmp_path / "curves.png", "a run", figures)
    log.draw(tmp_path / "curves.svg", "a run", figures)
    empty, drawn = (cv2.imread(str(tmp_path / name)) for name in ("empty.png", "curves.png"))
    assert drawn.shape == empty.shape
    assert (drawn != empty).any()
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.png", "curves.svg", "empty.png", "log.jsonl"]
