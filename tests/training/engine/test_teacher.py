"""A finished network that teaches another."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.config.recipe import DatasetSection, Recipe, parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine import teacher as teacher_module
from lwseg_training.engine.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, trained_network_of
from lwseg_training.engine.fit import TrainingStoppedError, fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.teacher import Teacher
from lwseg_training.engine.warm_start import fingerprint
from lwseg_training.experiments.cross_validation import check_starts, finished_summary, without_sequence
from lwseg_training.networks.normalization import Normalize
from support.camvid_miniature import miniature_recipe

from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.errors import RecipeError

CPU = torch.device("cpu")


def run(recipe: Recipe, data: Path, out: Path) -> dict[str, Any]:
    return fit(SegmentationTask(recipe, data, Process(0, 1, CPU)), out)


@pytest.fixture(scope="module")
def taught_by(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a teacher without 0001TP, a little."""
    out = tmp_path_factory.mktemp("teacher")
    recipe = parse_recipe(miniature_recipe(exposure=0.5, schedule={"steps": 4}))
    run(without_sequence(recipe, "0001TP"), miniature, out)
    return out / "last.pt"


def test_its_logits_are_those_of_the_network_as_it_was_trained(
    taught_by: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = Teacher(taught_by, DatasetSection(held_out=("0001TP",)), CAMVID_CLASSES, CPU)
    network = torch.nn.Sequential(Normalize(exposure=0.5), trained_network_of(load_checkpoint(taught_by))).eval()
    for size_hw in ((48, 64), (64, 96), (48, 64)):
        image = torch.randint(0, 256, (2, *size_hw, 3), dtype=torch.uint8)
        with torch.no_grad():
            expected = network(image)
        logits = teacher(image)
        assert logits.dtype == torch.float32
        assert not logits.requires_grad
        torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.1 * float(expected.std()))
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)  # as where it is not installed
    torch.testing.assert_close(teacher(image), expected, rtol=0.05, atol=0.1 * float(expected.std()))


def test_who_has_seen_what_is_held_out_or_knows_other_classes_does_not_teach(taught_by: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="was trained on 0006R0, which this run holds out"):
        Teacher(taught_by, DatasetSection(held_out=("0006R0",)), CAMVID_CLASSES, CPU)
    with pytest.raises(RecipeError, match=r"tells the classes sky, building, .* not those of camvid"):
        Teacher(taught_by, DatasetSection(), CAMVID_CLASSES[:5], CPU)
    with pytest.raises(CheckpointError, match=r"no checkpoint .*, which distillation\.teacher "):
        Teacher(tmp_path / "last.pt", DatasetSection(), CAMVID_CLASSES, CPU)


def test_a_student_learns_from_the_teacher_of_its_sequence(
    taught_by: Path, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {"teacher": "nowhere.pt", "teacher_held_out": str(taught_by).replace("last.pt", "{sequence}.pt")}
    recipe = parse_recipe(miniature_recipe(distillation=section, schedule={"steps": 4}))
    with pytest.raises(CheckpointError, match=r"no checkpoint nowhere\.pt"):
        run(recipe, miniature, tmp_path / "alone")
    taught_by.with_name("0001TP.pt").write_bytes(taught_by.read_bytes())
    student = without_sequence(recipe, "0001TP")
    assert student.distillation is not None
    assert student.distillation.teacher == str(taught_by.with_name("0001TP.pt"))
    asked: list[torch.Size] = []
    ask = teacher_module.Teacher.__call__

    def counted(self: Teacher, image: torch.Tensor) -> torch.Tensor:
        asked.append(image.shape)
        return ask(self, image)

    monkeypatch.setattr(teacher_module.Teacher, "__call__", counted)
    taught = run(student, miniature, tmp_path / "taught")
    assert len(asked) == taught["steps"] == 4
    run(student.model_copy(update={"distillation": None}), miniature, tmp_path / "untaught")
    weights = [torch.load(tmp_path / name / "last.pt", weights_only=True)["network"] for name in ("taught", "untaught")]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_remembers_its_teacher(taught_by: Path, miniature: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.pt"
    teacher.write_bytes(taught_by.read_bytes())
    recipe = parse_recipe(miniature_recipe(distillation={"teacher": str(teacher)}, schedule={"steps": 2}))
    recipe = without_sequence(recipe, "0001TP")
    summary = run(recipe, miniature, tmp_path / "run")
    assert summary["teacher"] == fingerprint(taught_by)
    assert finished_summary(recipe, tmp_path / "run") == summary
    state = load_checkpoint(teacher)
    next(iter(state["ema"].values())).add_(1e-3)
    save_checkpoint(teacher, state)
    assert finished_summary(recipe, tmp_path / "run") is None
    with pytest.raises(RecipeError, match=r"run was begun from other weights than .*teacher\.pt holds now"):
        fit(SegmentationTask(recipe, miniature, Process(0, 1, CPU)), tmp_path / "run", resume=True)
    last = tmp_path / "run" / "last.pt"
    before = load_checkpoint(last)
    del before["teacher"]  # as runs were written before
    save_checkpoint(last, before)
    assert (
        fit(SegmentationTask(recipe, miniature, Process(0, 1, CPU)), tmp_path / "run", resume=True)["teacher"] is None
    )


def test_a_teacher_among_the_usual_runs_wants_runs_there() -> None:
    section = {"teacher": "t.pt", "teacher_held_out": "runs/compare/t/{sequence}/last.pt"}
    recipe = parse_recipe(miniature_recipe(distillation=section, schedule={"steps": 2}))
    with pytest.raises(
        RecipeError, match=r"mine starts from runs/compare/t/\{sequence\}/last\.pt, but runs are put into out"
    ):
        check_starts("mine", recipe, Path("out"), Path("runs/compare"))
    check_starts("mine", recipe, Path("runs/compare"), Path("runs/compare"))


def test_a_signal_stops_a_run_with_a_teacher_in_order(
    taught_by: Path, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segmentation fault, where the runtime's signal stack lies with the trainer's thread."""
    section = {"teacher": str(taught_by)}
    recipe = parse_recipe(
        miniature_recipe(distillation=section, dataset={"held_out": ["0001TP"]}, schedule={"steps": 50})
    )
    ask = teacher_module.Teacher.__call__

    def told_to_stop(self: Teacher, image: torch.Tensor) -> torch.Tensor:
        logits = ask(self, image)
        self._compiled.clear()
        os.kill(os.getpid(), signal.SIGTERM)
        return logits

    monkeypatch.setattr(teacher_module.Teacher, "__call__", told_to_stop)
    with pytest.raises(TrainingStoppedError, match="stopped at step 1 of 50"):
        run(recipe, miniature, tmp_path / "run")
