"""Pretraining: what it leaves behind, exact resuming, its recipes and refusals."""

from __future__ import annotations

import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from lwseg_training.config.pretraining_recipe import (
    PRETRAINING_RECIPE_FOLDER,
    PretrainingRecipe,
    load_pretraining_recipe,
)
from lwseg_training.config.recipe import resolve_recipe
from lwseg_training.data.samples import StepSampler, training_loader
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import CheckpointError, load_checkpoint, read_checkpoint
from lwseg_training.engine.classification import ClassificationTask, accuracy
from lwseg_training.engine.fit import fit
from lwseg_training.engine.state import initial_state
from lwseg_training.engine.step import TrainingStep
from lwseg_training.networks import build_classifier
from lwseg_training.networks.normalization import Normalize
from support.classification_miniature import classification_recipe, write_classification_recipe, write_images
from torch import Tensor, nn

from lwseg_ros.cli import main
from lwseg_ros.errors import DatasetError, LwsegError, RecipeError

ALONE = Process(0, 1, torch.device("cpu"))


def recipe_of(**changes: Any) -> PretrainingRecipe:
    return PretrainingRecipe.model_validate(classification_recipe(**changes))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def last_of(out: Path) -> dict[str, Any]:
    return read_checkpoint(out / "last.pt", "lwseg pretrain")


def test_it_learns_and_leaves_checkpoints_log_curves_recipe_and_summary(images: Path, tmp_path: Path) -> None:
    recipe = recipe_of(schedule={"steps": 45, "warmup_steps": 4}, evaluate_every_epochs=10)
    summary = fit(ClassificationTask(recipe, images, ALONE), tmp_path / "run")
    names = {"last.pt", "best.pt", "log.jsonl", "curves.png", "recipe.yaml", "summary.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert summary["images"] == {"train": 18, "evaluated": 6}
    assert (summary["steps"], summary["evaluated_on"], summary["skipped_steps"]) == (45, "val", 0)
    assert summary["best"]["top1"] > 0.8
    assert summary["last"]["top5"] == 1.0, "of three classes"
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "top1" in entry] == [30, 45]
    assert [entry["step"] for entry in entries if "loss" in entry] == [20, 40, 45]
    assert load_pretraining_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    assert last_of(tmp_path / "run")["class_names"] == ["brick", "grass", "water"]
    assert cv2.imread(str(tmp_path / "run" / "curves.png")) is not None


def test_stopped_and_resumed_it_ends_with_the_weights_of_a_run_left_alone(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(schedule={"steps": 6, "warmup_steps": 1}, crop={"size_hw": [32, 32], "area": [0.2, 1.0]})
    whole = fit(ClassificationTask(recipe, images, ALONE), tmp_path / "whole")
    take = TrainingStep.take

    def signalled(step: TrainingStep, image: Tensor, label: Tensor) -> tuple[Tensor, float]:
        if step.state.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return take(step, image, label)

    monkeypatch.setattr(TrainingStep, "take", signalled)
    with pytest.raises(LwsegError, match="stopped at step 3 of 6; go on with --resume"):
        fit(ClassificationTask(recipe, images, ALONE), tmp_path / "torn")
    monkeypatch.undo()
    torn = fit(ClassificationTask(recipe, images, ALONE), tmp_path / "torn", resume=True)
    expected, state = last_of(tmp_path / "whole"), last_of(tmp_path / "torn")
    for part in ("network", "ema"):
        assert all(torch.equal(state[part][name], value) for name, value in expected[part].items())
    for index, moments in expected["optimizer"]["state"].items():
        assert all(torch.equal(state["optimizer"]["state"][index][name], value) for name, value in moments.items())
    assert torn["last"] == whole["last"]


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16", "ema_decay": 0.0},
        {"optimizer": {"kind": "muon", "lr": 0.002}, "schedule": {"kind": "poly", "epochs": 1, "power": 1.0}},
        {"workers": 1, "normalization": "per_image", "optimizer": {"kind": "sgd", "lr": 0.01, "clip_norm": 1.0}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_part_of_a_recipe_trains(changes: dict[str, Any], images: Path, tmp_path: Path) -> None:
    summary = fit(ClassificationTask(recipe_of(**changes), images, ALONE), tmp_path / "run")
    assert summary["skipped_steps"] == 0
    assert 0 <= summary["last"]["top1"] <= summary["last"]["top5"] <= 1
    assert all(torch.isfinite(value).all() for value in last_of(tmp_path / "run")["network"].values())


def test_a_step_with_gradients_that_are_not_finite_is_counted_and_changes_no_weight(images: Path) -> None:
    task = ClassificationTask(recipe_of(), images, ALONE)
    state = initial_state(task)
    image, label = next(iter(training_loader(task.samples, StepSampler(6, 0, 1), 0, pin=False)))
    with torch.no_grad():
        state.network.classifier.weight[0, 0] = torch.inf
    before = {name: value.detach().clone() for name, value in state.network.named_parameters()}
    _, norm = TrainingStep(task, state).take(image, label)
    assert not math.isfinite(norm)
    assert state.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in state.network.named_parameters())


def test_the_rate_falls_as_a_cosine_or_as_a_power(images: Path) -> None:
    schedule = {"steps": 12, "warmup_steps": 2}
    plain = {"kind": "adamw", "lr": 1.0}
    cosine = ClassificationTask(recipe_of(schedule=schedule, optimizer=plain), images, ALONE)
    poly = recipe_of(schedule={**schedule, "kind": "poly", "power": 1.0}, optimizer=plain)
    linear = ClassificationTask(poly, images, ALONE)

    def rates(task: ClassificationTask) -> list[float]:
        return [task.learning_rate(step) for step in (0, 1, 2, 7, 12)]

    assert rates(cosine) == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])
    assert rates(linear) == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])
    assert cosine.learning_rate(4) == pytest.approx((1 + math.cos(math.pi / 5)) / 2)
    assert linear.learning_rate(4) == pytest.approx(0.8)


def test_accuracy_by_hand() -> None:
    class Scores(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image[:, 0]  # [N, 1, classes]: the red channel's row holds the scores

    scores = torch.arange(7, dtype=torch.uint8).flip(0)  # class 0 is the likeliest, class 4 the fifth
    image = scores[None, None, :, None].expand(4, 1, 7, 3)
    flat = nn.Sequential(Scores(), nn.Flatten())
    batches = [(image[:2], torch.tensor([0, 4])), (image[2:], torch.tensor([5, 1]))]
    assert accuracy(flat, Normalize(), batches, torch.device("cpu"), "fp32") == (0.25, 0.75)


def test_what_does_not_fit_the_run_is_refused(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(ClassificationTask(recipe_of(schedule={"steps": 1}), images, ALONE), out)
    with pytest.raises(RecipeError, match="already holds a run; add --resume"):
        fit(ClassificationTask(recipe_of(), images, ALONE), out)
    with pytest.raises(RecipeError, match="was begun with another recipe; differing: seed, label_smoothing"):
        fit(
            ClassificationTask(recipe_of(schedule={"steps": 1}, label_smoothing=0.0, seed=1), images, ALONE),
            out,
            resume=True,
        )
    with pytest.raises(
        CheckpointError, match=r"lacks classes, class_weights, best_miou; it is no checkpoint that `lwseg t"
    ):
        load_checkpoint(out / "last.pt")

    other = write_images(tmp_path / "other")
    shutil.move(other / "val" / "water", other / "val" / "wax")
    with pytest.raises(DatasetError, match="train has 3 classes, val 3; only one of them has 'water'"):
        fit(ClassificationTask(recipe_of(), other, ALONE), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_networks_that_do_not_classify_are_refused() -> None:
    with pytest.raises(RecipeError, match="no network 'dwrseg_b' that classifies images; there are: lemore"):
        build_classifier("dwrseg_b", 3)
    with pytest.raises(RecipeError, match=r"classifier 'lemore' does not take the options \{'wings': 2\}"):
        build_classifier("lemore", 3, wings=2)


@pytest.mark.parametrize("path", sorted(PRETRAINING_RECIPE_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_make_sense(path: Path) -> None:
    assert resolve_recipe(path.stem, PRETRAINING_RECIPE_FOLDER) == path
    recipe = load_pretraining_recipe(path)
    network = build_classifier(recipe.network.name, 1000, **recipe.network.options)
    assert recipe.crop.size_hw == network.backbone.size_hw == (224, 224)


def test_recipes_of_the_other_command_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'pilot': .* one of: lemore_imagenet1k"):
        resolve_recipe("pilot", PRETRAINING_RECIPE_FOLDER)
    with pytest.raises(RecipeError, match=r"augmentation = .*: Extra inputs are not permitted"):
        load_pretraining_recipe(resolve_recipe("pilot"))
    recipe = write_classification_recipe(tmp_path / "images.yaml")
    assert main(["train", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "augmentation" in capsys.readouterr().err


def test_the_command_trains_and_says_how_good_it_is(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_classification_recipe(tmp_path / "images.yaml")
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", str(recipe), "--data", str(images), "schedule.steps=2", "--device", "cpu"]) == 0
    assert "val top-1: last 0." in capsys.readouterr().out
    assert last_of(tmp_path / "runs" / "images")["step"] == 2
    assert (
        main(["pretrain", str(recipe), "--data", str(images), "schedule.steps=2", "--resume", "--device", "cpu"]) == 0
    )
    assert main(["pretrain", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "none")]) == 1
    assert "lwseg pretrain: " in capsys.readouterr().err
    assert main(["pretrain", "--help"]) == 0
    assert "example:\n  lwseg pretrain " in capsys.readouterr().out
