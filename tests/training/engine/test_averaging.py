"""Averages of checkpoints: the arithmetic, the statistics, the verdict, and that the result is a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.averaging import average_checkpoints, mean_weights
from lwseg_training.engine.batch_norm import estimate_batch_norm
from lwseg_training.engine.checkpoint import load_checkpoint, save_checkpoint, trained_network_of
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.warm_start import fingerprint, load_warm_start
from lwseg_training.export.export import export_checkpoint
from support.camvid_miniature import miniature_recipe
from torch import nn

from lwseg_ros.cli import main
from lwseg_ros.errors import RecipeError

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def sisters(miniature: Path, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of other seeds that go on from one run."""
    out = tmp_path_factory.mktemp("sisters")
    network = {**miniature_recipe()["network"], "warm_start": str(run_folder / "last.pt")}
    for seed in (1, 2):
        recipe = miniature_recipe(network=network, schedule={"steps": 8}, seed=seed)
        recipe["optimizer"] = {**recipe["optimizer"], "lr": 0.001}
        fit(SegmentationTask(parse_recipe(recipe), miniature, ALONE), out / str(seed))
    return [out / str(seed) / "last.pt" for seed in (1, 2)]


def test_means_are_of_floats_and_counts_are_the_first() -> None:
    one = {"w": torch.tensor([1.0, 3.0]), "count": torch.tensor(7)}
    other = {"w": torch.tensor([2.0, 0.0]), "count": torch.tensor(9)}
    mean = mean_weights([one, other])
    assert torch.equal(mean["w"], torch.tensor([1.5, 1.5]))
    assert mean["w"].dtype == torch.float32
    assert int(mean["count"]) == 7


def test_statistics_are_those_of_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.Dropout(0.5))
    batches = [3 * torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(seed)) + seed for seed in range(3)]
    network.train()
    network(batches[0])
    estimate_batch_norm(network, iter(batches))
    norm = network[0]
    assert isinstance(norm, nn.BatchNorm2d)
    means = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches])
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(dim=1) for batch in batches])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0))
    torch.testing.assert_close(norm.running_var, variances.mean(dim=0))
    assert norm.momentum == 0.3
    assert not any(module.training for module in network.modules())


def test_runs_that_go_on_from_one_average_well(miniature: Path, sisters: list[Path], tmp_path: Path) -> None:
    average = average_checkpoints(sisters, miniature, ALONE)
    assert average.in_one_basin
    assert average.barrier == pytest.approx(sum(i.miou for i in average.ingredients) / 2 - average.miou)
    assert [(i.seed, i.step) for i in average.ingredients] == [(1, 8), (2, 8)]
    for path, ingredient in zip(sisters, average.ingredients, strict=True):
        summary = json.loads((path.parent / "summary.json").read_text())
        assert ingredient.miou == pytest.approx(summary["last"]["miou"])
    soup = average.state["network"]
    name = "head.1.weight"
    states = [load_checkpoint(path) for path in sisters]
    torch.testing.assert_close(soup[name], (states[0]["ema"][name] + states[1]["ema"][name]) / 2)
    statistic = "decoder_norm.running_mean"
    assert not torch.allclose(soup[statistic], (states[0]["ema"][statistic] + states[1]["ema"][statistic]) / 2)
    assert average.state["seconds"] == pytest.approx(sum(state["seconds"] for state in states))

    path = tmp_path / "soup.pt"
    save_checkpoint(path, average.state)
    state = load_checkpoint(path)
    start = trained_network_of(state)
    load_warm_start(start, path)
    model, _, _ = export_checkpoint(state, miniature, tmp_path / "soup.onnx")
    assert model.manifest.validation["miou"] == pytest.approx(average.miou, abs=1e-4)
    assert model.manifest.training["averaged"] == [
        {"seed": seed, "step": 8, "fingerprint": fingerprint(path)} for seed, path in zip((1, 2), sisters, strict=True)
    ]


def test_runs_from_different_starts_do_not(miniature: Path, run_folder: Path, tmp_path: Path) -> None:
    recipe = load_checkpoint(run_folder / "last.pt")["recipe"]
    fit(SegmentationTask(parse_recipe({**recipe, "seed": 5}), miniature, ALONE), tmp_path)
    average = average_checkpoints([run_folder / "last.pt", tmp_path / "last.pt"], miniature, ALONE)
    assert min(i.miou for i in average.ingredients) > 0.3
    assert not average.in_one_basin
    assert replace(average, miou=0.99).in_one_basin


def test_the_command_writes_and_says_how_good_it_is(
    miniature: Path, sisters: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "soup.pt"
    command = ["average", *map(str, sisters), "--data", str(miniature), "-o"]
    assert main([*command, str(path)]) == 0
    printed = capsys.readouterr().out
    miou = load_checkpoint(path)["best_miou"]
    assert f"{sisters[0]}: mIoU 0." in printed
    assert f"average: mIoU {miou:.4f} on val, 0." in printed
    assert "they lie in one basin" in printed
    assert main([*command, str(tmp_path / "json.pt"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["miou"], report["in_one_basin"], len(report["ingredients"])) == (miou, True, 2)
    assert main([*command, str(sisters[0])]) == 1
    assert "of another name than last.pt and best.pt" in capsys.readouterr().err


def changed(path: Path, of: Path, **recipe: Any) -> Path:
    state = load_checkpoint(of)
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(path, {**state, "recipe": {**state["recipe"], **recipe}})
    return path


def test_what_does_not_belong_together_is_refused(miniature: Path, sisters: list[Path], tmp_path: Path) -> None:
    def refused(*paths: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            average_checkpoints(paths, miniature, ALONE)
        return str(caught.value)

    assert "give two checkpoints or more" in refused(sisters[0])
    assert f"holds the weights of {sisters[0]}; give each once" in refused(*sisters, sisters[0])
    other = changed(tmp_path / "other.pt", sisters[1], ema_decay=0.5)
    assert "another recipe" in refused(sisters[0], other)
    assert "differing: ema_decay;" in refused(sisters[0], other)
    dataset = {**load_checkpoint(sisters[0])["recipe"]["dataset"], "held_out": ["0006R0"]}
    last = changed(tmp_path / "run" / "last.pt", sisters[0], dataset=dataset)
    best = changed(tmp_path / "run" / "best.pt", sisters[1], dataset=dataset)
    assert f"{best} was chosen on what the run holds out" in refused(last, best)
