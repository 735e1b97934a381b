"""Weights that a network starts from: those of a pretrained backbone, or of the same network trained before; and what a run has
to know of any checkpoint that it learns from."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lwseg_ros.errors import RecipeError
from lwseg_training.config.pretraining_recipe import ImagesSection
from lwseg_training.config.recipe import DatasetSection, TrainingSettings
from lwseg_training.config.renamed_keys import with_current_keys
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import CheckpointError, read_checkpoint
from lwseg_training.networks import adapted_weights

WARM_START, TEACHER = "network.warm_start", "distillation.teacher"
"""The keys of a recipe that name a checkpoint to learn from."""


@dataclass(frozen=True)
class WarmStart:
    """What a network took of a checkpoint: names of tensors, parameters and buffers."""

    path: Path  # the checkpoint
    taken: tuple[str, ...]  # what has the checkpoint's values now
    left: tuple[str, ...]  # what the checkpoint does not have in the network's shape; it keeps its random start
    unused: tuple[str, ...]  # what only the checkpoint has

    def __str__(self) -> str:
        kept = f"; starting at random: {', '.join(_layers(self.left))}" if self.left else ""
        dropped = f"; not taken: {', '.join(_layers(self.unused))}" if self.unused else ""
        return f"{len(self.taken)} of {len(self.taken) + len(self.left)} tensors from {self.path}{kept}{dropped}"

    def print_from(self, process: Process) -> None:
        """Print it once, among the messages of progress."""
        if process.is_main:
            print(self, file=sys.stderr)


def _read(path: Path, key: str = WARM_START) -> dict[str, Any]:
    """Read a checkpoint to learn from, which the recipe's ``key`` names; raises CheckpointError where there is none, or that of a
    run which is not finished."""
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint {path}, which {key} (or {key}_held_out) names; run the recipe that leaves it there "
            "first, or name another"
        )
    state = read_checkpoint(path)
    step, total = state.get("step"), state.get("total_steps")
    if path.name == "last.pt" and step != total:
        raise CheckpointError(
            f"{path} is of a run that stands at step {step} of {total}; finish it first, with --resume"
        )
    return state


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, by which a run remembers what it learned from. What else the file says,
    such as how the network is used, does not count.
    """
    digest = hashlib.sha256()
    for name, value in sorted(_weights(read_checkpoint(path), path).items()):
        digest.update(f"{name} {value.dtype} {_shape(value)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def changed_since(recipe: TrainingSettings, run: Mapping[str, Any]) -> list[str]:
    """Name the checkpoints that a run learned from and that hold other weights now.

    ``run``: its checkpoint or summary, with the fingerprints; where it has none, nothing is known to have changed.
    """
    return [
        path
        for role, path in recipe.learns_from.items()
        if run.get(role) is not None and Path(path).is_file() and fingerprint(Path(path)) != run[role]
    ]


def check_unseen(path: Path, dataset: DatasetSection | ImagesSection, key: str = WARM_START) -> None:
    """Refuse, with a RecipeError, a checkpoint to learn from, named by the recipe's ``key``, that was trained on what this run is
    evaluated on, a sequence it holds out or a split it does not train on itself, or of which the best step was chosen on what is
    held out. What that one learned from in its turn is not known here.
    """
    if isinstance(dataset, ImagesSection):  # it has no sequences to hold out
        return
    state = _read(path, key)
    trained_on = with_current_keys(state.get("recipe", {})).get("dataset", {})
    # Both sizes of CamVid are the same recordings.
    same_images = str(trained_on.get("name")).removesuffix("_full") == dataset.name.removesuffix("_full")
    seen = sorted(set(dataset.held_out) - set(trained_on.get("held_out", ())))
    if same_images and seen:
        raise RecipeError(
            f"{path} was trained on {', '.join(seen)}, which this run holds out to be evaluated on; train that without it too and "
            f"name the result in {key}, or in {key}_held_out for `lwseg compare`"
        )
    split = dataset.validation_split
    if (
        same_images
        and not dataset.held_out
        and split not in dataset.train_splits
        and split in _whole_splits(trained_on)
    ):
        raise RecipeError(
            f"{path} was trained on {split}, which this run is evaluated on; name another in {key}, or train on it here too "
            "(dataset.train_split), so that the figures say so"
        )
    if same_images and dataset.held_out and path.name == "best.pt":
        raise RecipeError(
            f"{path} was chosen on what this run holds out to be evaluated on; name last.pt beside it in {key}"
        )


def _whole_splits(trained_on: Mapping[str, Any]) -> Sequence[str]:
    """Return the splits that a run's dataset section, as it was written down, trains on and holds nothing out of."""
    if trained_on.get("held_out"):
        return ()
    splits: str | Sequence[str] = trained_on.get("train_split", ())
    return (splits,) if isinstance(splits, str) else splits


def load_warm_start(network: nn.Module, path: Path) -> WarmStart:
    """Give a network the weights of a checkpoint, the averaged ones where there are any, as a start.

    The checkpoint is one of `lwseg pretrain`, whose backbone is taken, or one of `lwseg train` of the same network, or of one
    whose weights it can adapt. Taken is every tensor that fits by name and shape; a layer that ends in one channel a class keeps
    its random start where the numbers of classes differ.

    Raises CheckpointError where that leaves out more than layers of classes: then it is another network's checkpoint. Of
    a pretraining, the ``backbone`` has to fit, and no more; and where it is the last.pt of a run that is not finished.
    """
    state = _read(path)
    weights = adapted_weights(network, _weights(state, path))
    ours = network.state_dict()
    taken = {name: weights[name] for name in ours if name in weights and weights[name].shape == ours[name].shape}
    left = tuple(name for name in ours if name not in taken)
    pretrained = "class_names" in state
    theirs, classes = len(state.get("classes", ())), len(network.class_bias)  # type: ignore[arg-type]
    needed = [
        name
        for name in left
        if (
            "backbone" in name.split(".")
            if pretrained
            else not _differs_in_classes(name, weights, ours, theirs, classes)
        )
    ]
    if needed or not taken:
        name = next(iter(needed), left[0])
        other = f"{_shape(weights[name])} in the checkpoint" if name in weights else "not in the checkpoint"
        raise CheckpointError(
            f"{path} is no start for this network: {len(taken)} of its {len(ours)} tensors fit; {name} is "
            f"{_shape(ours[name])} and {other}. Name a checkpoint of the same network, with the same network.options"
        )
    network.load_state_dict(taken, strict=False)
    return WarmStart(path, tuple(taken), left, tuple(name for name in weights if name not in taken))


def _weights(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's weights, the averaged ones where there are any."""
    weights = state.get("ema") or state.get("network")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{path} holds no network; name a checkpoint of `lwseg train` or `lwseg pretrain`")
    return weights


def _differs_in_classes(
    name: str, weights: dict[str, Tensor], ours: dict[str, Tensor], their_classes: int, our_classes: int
) -> bool:
    """Whether two tensors of a name differ in nothing but one channel a class."""
    if name not in weights or their_classes == our_classes:
        return False
    return (*weights[name].shape,) == (their_classes, *ours[name].shape[1:]) and ours[name].shape[0] == our_classes


def _layers(names: tuple[str, ...]) -> list[str]:
    """Return the layers that tensors belong to, each once."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"
