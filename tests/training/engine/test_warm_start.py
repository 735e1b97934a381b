"""Starting from other weights: a pretrained backbone at another size, the same network with other classes, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.config.pretraining_recipe import PretrainingRecipe
from lwseg_training.config.recipe import DatasetSection, parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import CheckpointError, load_checkpoint, read_checkpoint, save_checkpoint
from lwseg_training.engine.classification import ClassificationTask
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.state import initial_state
from lwseg_training.engine.warm_start import check_unseen, fingerprint, load_warm_start
from lwseg_training.experiments.cross_validation import finished_summary, without_sequence
from lwseg_training.networks import build_network
from lwseg_training.networks.lemore import LeMoRe, LeMoReClassifier
from support.camvid_miniature import miniature_recipe
from support.classification_miniature import SHALLOW, classification_recipe, write_images
from torch import nn

from lwseg_ros.errors import RecipeError

ALONE = Process(0, 1, torch.device("cpu"))
SMALL_DWRSEG = {"sir_blocks": 1, "dwr2_blocks": 1, "dwr3_blocks": 1}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a short pretraining of LeMoRe at 32 x 32."""
    folder = tmp_path_factory.mktemp("pretrained")
    recipe = PretrainingRecipe.model_validate(classification_recipe(schedule={"steps": 2}))
    fit(ClassificationTask(recipe, write_images(folder / "images"), ALONE), folder / "run")
    return folder / "run" / "last.pt"


def lemore(classes: int = 11, size_hw: tuple[int, int] = (64, 96), **options: Any) -> LeMoRe:
    return LeMoRe(classes, size_hw=size_hw, **{**SHALLOW, "width": 16, **options})


def values_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_a_pretrained_backbone_starts_a_segmentation_at_another_size(pretrained: Path) -> None:
    network = lemore()
    before = values_of(network)
    report = load_warm_start(network, pretrained)
    averaged = read_checkpoint(pretrained)["ema"]
    backbone = {name.removeprefix("backbone."): averaged[name] for name in averaged if name.startswith("backbone.")}
    expected = network.backbone.adapt_weights(backbone)
    assert all(torch.equal(value, expected[name]) for name, value in network.backbone.state_dict().items())
    matrix = "stages.0.0.views.frontal.0.weight"
    assert (backbone[matrix].shape, expected[matrix].shape) == ((8, 8), (16, 16))
    others = [name for name in before if not name.startswith("backbone.")]
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in others)
    assert set(report.left) == set(others)
    assert report.unused == ("classifier.weight", "classifier.bias")
    text = str(report)
    assert (
        f"{len(report.taken)} of {len(before)} tensors from {pretrained}; starting at random: fusions.0.detail.0"
        in text
    )
    assert "head.2" in text


def test_training_starts_from_them_and_resumes_without_them(
    pretrained: Path,
    miniature: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "start.pt").write_bytes(pretrained.read_bytes())
    monkeypatch.chdir(tmp_path)
    network = {
        "name": "lemore",
        "options": {"size_hw": [48, 64], "width": 16, **SHALLOW},
        "warm_start": "start.pt",
    }
    recipe = parse_recipe(miniature_recipe(network=network, schedule={"steps": 2}))
    task = SegmentationTask(recipe, miniature, ALONE)
    state = initial_state(task)
    expected = lemore(size_hw=(48, 64))
    load_warm_start(expected, pretrained)
    for part in (state.network, state.ema.module):
        assert all(torch.equal(v, expected.backbone.state_dict()[k]) for k, v in part.backbone.state_dict().items())
    assert "tensors from start.pt; starting at random:" in capsys.readouterr().err
    fit(task, tmp_path / "run")
    (tmp_path / "start.pt").unlink()
    assert fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / "run", resume=True)["steps"] == 2
    with pytest.raises(CheckpointError, match=r"no checkpoint start\.pt, which network\.warm_start"):
        fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / "other")


def test_the_same_network_gives_all_its_weights(run_folder: Path) -> None:
    network = build_network("dwrseg_b", 11, **SMALL_DWRSEG)
    report = load_warm_start(network, run_folder / "last.pt")
    averaged = load_checkpoint(run_folder / "last.pt")["ema"]
    assert all(torch.equal(value, averaged[name]) for name, value in network.state_dict().items())
    assert (report.left, report.unused) == ((), ())
    assert str(report) == f"{len(averaged)} of {len(averaged)} tensors from {run_folder / 'last.pt'}"


def test_a_synergy_starts_from_its_trunk_trained_alone(run_folder: Path) -> None:
    network = build_network("synergy", 11, trunk="dwrseg_b", trunk_options=SMALL_DWRSEG)
    report = load_warm_start(network, run_folder / "last.pt")
    averaged = load_checkpoint(run_folder / "last.pt")["ema"]
    assert all(torch.equal(value, averaged[name]) for name, value in network.trunk.state_dict().items())
    assert (report.left, report.unused) == ((), ())


def test_a_start_that_saw_what_is_held_out_is_refused(run_folder: Path, miniature: Path, tmp_path: Path) -> None:
    network = {"name": "dwrseg_b", "options": SMALL_DWRSEG, "warm_start": str(run_folder / "last.pt")}
    places = {"warm_start_held_out": str(tmp_path / "{sequence}" / "last.pt")}
    recipe = parse_recipe(miniature_recipe(network={**network, **places}, schedule={"steps": 1}))
    everything = recipe.dataset.model_copy(update={"held_out": ("0006R0",)})
    with pytest.raises(
        RecipeError, match=r"last\.pt was trained on 0006R0, which this run holds out to be evaluated on"
    ):
        fit(SegmentationTask(recipe.model_copy(update={"dataset": everything}), miniature, ALONE), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    start = parse_recipe(miniature_recipe(schedule={"steps": 1}))
    fit(SegmentationTask(without_sequence(start, "0006R0"), miniature, ALONE), tmp_path / "0006R0")
    held_out = fit(SegmentationTask(without_sequence(recipe, "0006R0"), miniature, ALONE), tmp_path / "run")
    assert held_out["recipe"]["network"]["warm_start"] == str(tmp_path / "0006R0" / "last.pt")
    everything_seen = fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / "all")
    assert everything_seen["recipe"] == recipe.model_dump(mode="json"), "nothing is held out"


def test_a_start_that_was_trained_on_the_validation_split_is_refused(run_folder: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run_folder / "last.pt")
    both = {**state["recipe"]["dataset"], "train_split": ["train", "val"]}
    last = tmp_path / "last.pt"
    save_checkpoint(last, {**state, "recipe": {**state["recipe"], "dataset": both}})
    with pytest.raises(
        RecipeError, match=r"was trained on val, .* name another in distillation\.teacher, or train on it"
    ):
        check_unseen(last, DatasetSection(), "distillation.teacher")
    check_unseen(last, DatasetSection(train_split=("train", "val")))  # its figures say so
    check_unseen(run_folder / "last.pt", DatasetSection())
    held_out = {**both, "held_out": ["0016E5"]}
    save_checkpoint(last, {**state, "recipe": {**state["recipe"], "dataset": held_out}})
    check_unseen(last, DatasetSection())  # of val nothing but that sequence may be there


def test_a_start_that_was_chosen_on_what_is_held_out_is_refused(miniature: Path, tmp_path: Path) -> None:
    start = without_sequence(parse_recipe(miniature_recipe(schedule={"steps": 1})), "0006R0")
    fit(SegmentationTask(start, miniature, ALONE), tmp_path / "start")
    with pytest.raises(RecipeError, match=r"best\.pt was chosen on what this run holds out"):
        check_unseen(tmp_path / "start" / "best.pt", start.dataset)
    check_unseen(tmp_path / "start" / "last.pt", start.dataset)


def test_the_last_weights_of_an_unfinished_run_are_refused(run_folder: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run_folder / "last.pt")
    save_checkpoint(tmp_path / "last.pt", {**state, "step": 7})
    network = build_network("dwrseg_b", 11, **SMALL_DWRSEG)
    with pytest.raises(CheckpointError, match=r"last\.pt is of a run that stands at step 7 of 60; finish it first"):
        load_warm_start(network, tmp_path / "last.pt")
    (tmp_path / "last.pt").rename(tmp_path / "best.pt")
    load_warm_start(network, tmp_path / "best.pt")


def test_a_run_remembers_what_it_started_from(run_folder: Path, miniature: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.pt"
    start.write_bytes((run_folder / "last.pt").read_bytes())
    network = {"name": "dwrseg_b", "options": SMALL_DWRSEG, "warm_start": str(start)}
    recipe = parse_recipe(miniature_recipe(network=network, schedule={"steps": 1}))
    summary = fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / "run")
    assert summary["start"] == fingerprint(start)
    assert finished_summary(recipe, tmp_path / "run") == summary
    state = load_checkpoint(start)
    save_checkpoint(start, {**state, "seconds": 1.0})
    assert finished_summary(recipe, tmp_path / "run") == summary, "the weights are the same"
    next(iter(state["ema"].values())).add_(1e-3)
    save_checkpoint(start, state)
    assert finished_summary(recipe, tmp_path / "run") is None
    with pytest.raises(RecipeError, match=r"run was begun from other weights than .*start\.pt holds now"):
        fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / "run", resume=True)


def test_with_other_classes_it_gives_all_but_the_layers_of_classes(run_folder: Path) -> None:
    network = build_network("dwrseg_b", 19, **SMALL_DWRSEG)
    before = values_of(network)
    report = load_warm_start(network, run_folder / "last.pt")
    averaged = load_checkpoint(run_folder / "last.pt")["ema"]
    classifier = {name for name, value in before.items() if value.shape[:1] == (19,)}
    assert set(report.left) == classifier
    assert len(classifier) == 2, "weight and bias of the last convolution"
    for name, value in network.state_dict().items():
        assert torch.equal(value, (before if name in classifier else averaged)[name])


def test_pretraining_starts_from_a_pretraining(pretrained: Path) -> None:
    network = LeMoReClassifier(7, size_hw=(64, 64), **SHALLOW)
    assert load_warm_start(network, pretrained).left == ("classifier.weight", "classifier.bias")


def test_another_networks_weights_are_refused_and_change_nothing(run_folder: Path, pretrained: Path) -> None:
    wider = build_network("dwrseg_b", 11, **{**SMALL_DWRSEG, "sir_blocks": 2})
    message = r"\d+ of its \d+ tensors fit; stage2\S* is \[.*\] and not in the checkpoint\. Name a"
    refused: list[tuple[nn.Module, Path, str]] = [
        (wider, run_folder / "last.pt", message),
        (lemore(), run_folder / "last.pt", r"1 of its \d+ tensors fit; backbone\.stem"),
        (build_network("dwrseg_b", 11, **SMALL_DWRSEG), pretrained, r"0 of its \d+ tensors fit; stem"),
        (
            lemore(channels=[8, 8, 16, 32]),
            pretrained,
            r"backbone\.stages\.3\S* is \[32, 16, 3, 3\] and \[16, 16, 3, 3\] in the checkpoint",
        ),
        (lemore(blocks=[1, 1, 1, 2]), pretrained, r"backbone\.stages\.3\.2\S* is .* and not in the checkpoint"),
    ]
    for network, path, words in refused:
        before = values_of(network)
        with pytest.raises(CheckpointError, match=words) as refusal:
            load_warm_start(network, path)
        assert str(refusal.value).startswith(f"{path} is no start for this network: ")
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint .*none\.pt, which network\.warm_start"):
        load_warm_start(lemore(), tmp_path / "none.pt")
    torch.save({"format_version": 1, "network": {}}, tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match=r"empty\.pt holds no network; name a checkpoint of"):
        load_warm_start(lemore(), tmp_path / "empty.pt")
