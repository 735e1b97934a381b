"""Published weights of a backbone, that a network starts from."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lwseg_ros.errors import RecipeError
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import CheckpointError

IMAGENET = "imagenet"


@dataclass(frozen=True)
class PretrainedStart:
    """What a network's backbone took of a file of published weights."""

    path: Path
    taken: int  # tensors
    unused: tuple[str, ...]  # tensors that only the file has, such as its classifier's

    def __str__(self) -> str:
        rest = f"; not taken: {', '.join(self.unused)}" if self.unused else ""
        return f"backbone: {self.taken} tensors from {self.path.name}{rest}"

    def print_from(self, process: Process) -> None:
        """Print it once, among the messages of progress."""
        if process.is_main:
            print(self, file=sys.stderr)


def load_pretrained(network: nn.Module, source: str) -> PretrainedStart:
    """Give a network's backbone the published weights of it, all of them.

    Args:
        network: its ``backbone`` may have ``published_weights()``, which finds the file of ``imagenet``, and
            ``adapt_weights(weights)``, which brings the file's names to its own.
        source: ``imagenet``, or the path of a file that torch.save wrote of a state dict.

    Raises RecipeError where the network has no backbone, or none whose weights are known by that name; CheckpointError where the
    file is not there, not readable, or of another backbone.
    """
    found = getattr(network, "backbone", None)
    if not isinstance(found, nn.Module):
        raise RecipeError(
            f"network.pretrained: {source}: a {type(network).__name__} has no backbone of which weights are published; "
            "leave it out, or start from a checkpoint with network.warm_start"
        )
    backbone: Any = found
    if source == IMAGENET and not hasattr(backbone, "published_weights"):
        raise RecipeError(
            f"network.pretrained: {source}: nobody is known to publish weights of a {type(backbone).__name__} as a package; "
            "give the path of a file of them"
        )
    path = backbone.published_weights() if source == IMAGENET else Path(source)
    weights = _read(path)
    adapted = backbone.adapt_weights(weights) if hasattr(backbone, "adapt_weights") else weights
    own = backbone.state_dict()
    for name, value in own.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in adapted or adapted[name].shape != value.shape:
            theirs = f"[{', '.join(map(str, adapted[name].shape))}] there" if name in adapted else "not there"
            raise CheckpointError(
                f"{path} holds the weights of another backbone than a {type(backbone).__name__}: {name} is "
                f"[{', '.join(map(str, value.shape))}] in the network and {theirs}"
            )
    taken = {name: value for name, value in adapted.items() if name in own}
    backbone.load_state_dict(taken, strict=False)
    unused = tuple(sorted({name.rpartition(".")[0] for name in adapted if name not in own}))
    return PretrainedStart(path, len(taken), unused)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no file {path} of published weights; give the path of one, or `{IMAGENET}`")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise CheckpointError(f"{path} is not a readable file of weights: {error}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path} holds no state dict; give a file as torch.save writes of `network.state_dict()`")
    return weights
