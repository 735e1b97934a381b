"""What a recipe freezes stays as it was to the last bit, while the rest learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.config.recipe import Recipe, parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.state import initial_state
from support.camvid_miniature import miniature_recipe
from torch import Tensor, nn

from lwseg_ros.errors import RecipeError

ALONE = Process(0, 1, torch.device("cpu"))


def recipe_from(run_folder: Path, frozen: dict[str, Any], **changes: Any) -> Recipe:
    network = {**miniature_recipe()["network"], "warm_start": str(run_folder / "last.pt"), **frozen}
    return parse_recipe(miniature_recipe(network=network, **changes))


def in_stem(name: str, _: nn.Module) -> bool:
    return name.startswith("stem.")


def normalises_in_stem(name: str, network: nn.Module) -> bool:
    return name.startswith("stem.") and isinstance(network.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)


def normalises(name: str, network: nn.Module) -> bool:
    return isinstance(network.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("frozen", "changes", "stays"),
    [
        ({"frozen": ["stem"]}, {}, in_stem),
        ({"frozen_statistics": ["stem"]}, {}, normalises_in_stem),
        ({"frozen": ["stem"]}, {"optimizer": {"kind": "muon", "lr": 0.002, "weight_decay": 0.05}}, in_stem),
        ({}, {"freeze_batch_norm": True}, normalises),
    ],
    ids=["modules", "statistics", "modules-muon", "all-statistics"],
)
def test_what_is_frozen_stays_and_the_rest_learns(
    run_folder: Path,
    miniature: Path,
    tmp_path: Path,
    frozen: dict[str, Any],
    changes: dict[str, Any],
    stays: Callable[[str, nn.Module], bool],
) -> None:
    task = SegmentationTask(recipe_from(run_folder, frozen, **changes), miniature, ALONE)
    network = initial_state(task).network
    before: dict[str, Tensor] = {name: value.clone() for name, value in network.state_dict().items()}
    fit(task, tmp_path / "run")
    after = load_checkpoint(tmp_path / "run" / "last.pt")
    kept = {name for name in before if torch.equal(after["network"][name], before[name])}
    assert kept == {name for name in before if stays(name, network)}
    assert kept
    assert all(torch.equal(after["ema"][name], before[name]) for name in kept)


def test_a_module_that_is_not_there_is_named(run_folder: Path, miniature: Path) -> None:
    for setting in ("frozen", "frozen_statistics"):
        task = SegmentationTask(recipe_from(run_folder, {setting: ["wings"]}), miniature, ALONE)
        with pytest.raises(
            RecipeError, match=rf"network\.{setting}: a DWRSeg has no module 'wings'; its stages are stem, "
        ):
            initial_state(task)


@pytest.mark.parametrize("setting", ["frozen", "frozen_statistics"])
def test_random_weights_are_not_frozen(setting: str) -> None:
    network = {**miniature_recipe()["network"], setting: ["stem"]}
    with pytest.raises(RecipeError, match="keep what was trained before; name it in pretrained or warm_start"):
        parse_recipe(miniature_recipe(network=network))
