"""The uniform average of several checkpoints' weights (Wortsman et al., Model Soups, ICML 2022), and whether they average well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from lwseg_ros.errors import RecipeError
from lwseg_training.config.recipe import Recipe, differing_keys, parse_recipe
from lwseg_training.data.samples import StepSampler, training_loader, worker_count
from lwseg_training.distributed import Process
from lwseg_training.engine.batch_norm import estimate_batch_norm
from lwseg_training.engine.checkpoint import load_checkpoint, load_weights, trained_network_of, used_weights
from lwseg_training.engine.provenance import source_commit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.warm_start import fingerprint

BATCH_NORM_IMAGES = 1024
MAX_BARRIER = 0.02


@dataclass(frozen=True)
class Ingredient:
    """A checkpoint that is averaged: its file, which run and step it is of, its weights' SHA-256, and its mIoU in [0, 1]."""

    path: Path
    seed: int
    step: int
    fingerprint: str
    miou: float


@dataclass(frozen=True)
class Average:
    """An average of checkpoints, itself a checkpoint, and the mIoU of all on the recipe's evaluated split."""

    state: dict[str, Any]
    ingredients: tuple[Ingredient, ...]
    miou: float
    evaluated_on: str

    @property
    def barrier(self) -> float:
        """How far the average's mIoU lies below the mean of the ingredients'; negative where it lies above."""
        return sum(ingredient.miou for ingredient in self.ingredients) / len(self.ingredients) - self.miou

    @property
    def in_one_basin(self) -> bool:
        """Whether the average is as good as its ingredients but for noise: Frankle et al. (Linear Mode Connectivity and the Lottery
        Ticket Hypothesis, ICML 2020) call networks linearly connected whose error between them rises by less than 2 %.
        """
        return self.barrier < MAX_BARRIER


def average_checkpoints(paths: Sequence[Path], data_root: Path, process: Process) -> Average:
    """Average checkpoints of one recipe, that differ in seed or are of one run at different steps, each by its averaged weights
    where there are any.

    The statistics of batch normalisation are not averaged but estimated anew, on the samples of the run's last steps, unless
    the recipe froze them. Shows progress on stderr.

    Args:
        paths: of the checkpoints, two or more.
        data_root: folder of the data set.
        process: where it runs, alone.

    Raises RecipeError where they are of different recipes, or one is given twice; CheckpointError where one is not readable.
    """
    recipe, states = _of_one_recipe(paths)
    task = SegmentationTask(recipe, data_root, process)
    soup = trained_network_of(states[0])
    load_weights(soup, mean_weights([used_weights(state) for state in states]), recipe.network.name)
    if not recipe.freeze_batch_norm:
        _estimate_statistics(soup.to(process.device), task)

    def miou(network: nn.Module) -> float:
        figure: float = task.evaluate(network.to(process.device))["miou"]
        return figure

    ingredients = tuple(
        Ingredient(path, state["recipe"]["seed"], state["step"], fingerprint(path), miou(trained_network_of(state)))
        for path, state in zip(paths, states, strict=True)
    )
    soup_miou = miou(soup)
    latest = max(states, key=lambda state: state["step"])
    state = {
        **latest,
        "recipe": recipe.model_dump(mode="json"),
        "commit": source_commit(),
        "network": soup.cpu().state_dict(),
        "ema": None,
        "ema_updates": 0,
        "optimizer": {},
        "best_miou": soup_miou,
        "seconds": _seconds(states),
        "torch_version": str(torch.__version__),
        "averaged": [
            {"seed": made_of.seed, "step": made_of.step, "fingerprint": made_of.fingerprint} for made_of in ingredients
        ],
    }
    return Average(state, ingredients, soup_miou, task.evaluated_on)


def mean_weights(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor over several networks, taken in float64; of what counts in integers, the first's."""
    return {
        name: torch.stack([of_network[name].double() for of_network in weights]).mean(dim=0).to(first.dtype)
        if first.is_floating_point()
        else first.clone()
        for name, first in weights[0].items()
    }


def _of_one_recipe(paths: Sequence[Path]) -> tuple[Recipe, list[dict[str, Any]]]:
    """Load checkpoints; see `average_checkpoints` for what is refused."""
    if len(paths) < 2:
        raise RecipeError("there is nothing to average; give two checkpoints or more")
    states = [load_checkpoint(path) for path in paths]
    recipe = parse_recipe(states[0]["recipe"], source=str(paths[0]))
    seen: dict[str, Path] = {}
    for path, state in zip(paths, states, strict=True):
        differing = [key for key in differing_keys(recipe, state["recipe"]) if key != "seed"]
        if state["classes"] != states[0]["classes"]:
            differing.append("classes")
        if differing:
            raise RecipeError(
                f"{path} is of another recipe than {paths[0]}, differing: {', '.join(differing)}; average checkpoints of one "
                "recipe, which may differ in seed"
            )
        if recipe.dataset.held_out and path.name == "best.pt":
            raise RecipeError(f"{path} was chosen on what the run holds out to be evaluated on; give its last.pt")
        weights = fingerprint(path)
        if weights in seen:
            raise RecipeError(f"{path} holds the weights of {seen[weights]}; give each once")
        seen[weights] = path
    return recipe, states


def _seconds(states: Sequence[dict[str, Any]]) -> float:
    """Return how long all that is averaged was trained: of a run, which goes by its seed, what it took to its latest step."""
    longest: dict[int, float] = {}
    for state in states:
        seed = state["recipe"]["seed"]
        longest[seed] = max(longest.get(seed, 0.0), state["seconds"])
    return sum(longest.values())


def _estimate_statistics(network: nn.Module, task: SegmentationTask) -> None:
    """Estimate a network's batch-norm statistics on the samples of a run's last steps, about BATCH_NORM_IMAGES of them."""
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return
    steps, total = max(1, BATCH_NORM_IMAGES // task.recipe.batch_size), task.length.total_steps
    sampler = StepSampler(task.recipe.batch_size, max(0, total - steps), total)
    device = task.process.device
    loader = training_loader(task.samples, sampler, worker_count(task.recipe), pin=device.type == "cuda")
    batches = tqdm(loader, desc="batch-norm statistics", unit="step", mininterval=0.5)
    estimate_batch_norm(network, (task.normalize(image.to(device)) for image, _ in batches))
