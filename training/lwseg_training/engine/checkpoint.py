"""What a run leaves behind to be resumed, exported or evaluated later."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_training.config.recipe import NetworkSection, Recipe, parse_recipe
from lwseg_training.losses.logit_adjustment import adjust_logits
from lwseg_training.networks import TwoScaleNetwork, build_network, on_two_scales, two_scale_section

FORMAT_VERSION = 1
COMMON_FIELDS = (
    "recipe",
    "commit",
    "step",
    "total_steps",
    "epoch",
    "network",
    "ema",
    "ema_updates",
    "optimizer",
    "skipped",
    "recently_skipped",
    "seconds",
    "torch_version",
)
FIELDS = (*COMMON_FIELDS, "classes", "class_weights", "best_miou")


class CheckpointError(LwsegError):
    """A checkpoint is missing, corrupt, or not of this package."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that the file is either the old or the new one, whole, whenever the process is killed."""
    temporary = path.with_name(f".{path.name}.part")  # always the same, so that kills do not pile them up
    try:
        with temporary.open("wb") as file:
            torch.save({"format_version": FORMAT_VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path, fields: Sequence[str] = FIELDS, command: str = "lwseg train") -> dict[str, Any]:
    """Read a checkpoint that a command wrote with all these fields onto the CPU.

    Raises CheckpointError that says what is wrong with the file.
    """
    state = read_checkpoint(path, command)
    missing = [name for name in fields if name not in state]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it is no checkpoint that `{command}` wrote")
    return state


def read_checkpoint(path: Path, command: str = "lwseg train") -> dict[str, Any]:
    """Read a checkpoint onto the CPU, whichever fields it has; raises CheckpointError that names what should have written it."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; `{command}` writes last.pt and best.pt into its --out folder")
    try:
        # torch.load does not compare the checksums that torch.save wrote.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} is not a checkpoint of format {FORMAT_VERSION} written by `{command}`")
    return state


def network_of(state: dict[str, Any]) -> tuple[Recipe, nn.Module]:
    """Rebuild the network that a checkpoint is to be used as, in eval mode: the averaged weights where there are any, with
    its logits adjusted as the recipe says.

    Raises CheckpointError where its weights are not those of its recipe's network.
    """
    recipe, network = parse_recipe(state["recipe"], source="checkpoint"), trained_network_of(state)
    weights = torch.tensor(state["class_weights"]) if state["class_weights"] is not None else None
    adjust_logits(network, weights, recipe.loss.logit_adjustment)
    return recipe, network.eval()


def trained_network_of(state: dict[str, Any]) -> nn.Module:
    """Rebuild the network of a checkpoint as it was trained, its logits not adjusted; see `network_of`."""
    section = parse_recipe(state["recipe"], source="checkpoint").network
    network = build_network(section.name, len(state["classes"]), **section.options)
    load_weights(network, used_weights(state), section.name)
    return network.eval()


def used_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint's weights that are evaluated and used: the averaged ones where there are any."""
    weights: dict[str, Tensor] = state["ema"] if state["ema"] is not None else state["network"]
    return weights


def two_scale_network_of(state: dict[str, Any], low_scale: float) -> tuple[Recipe, TwoScaleNetwork]:
    """Rebuild a checkpoint's network as `network_of` does and run it on two scales, in eval mode, without training it as such.

    The recipe is the checkpoint's, with that for its network. Raises RecipeError where the network has two scales already, or
    ``low_scale`` is not above 0 and below 1.
    """
    recipe, trunk = network_of(state)
    if isinstance(trunk, TwoScaleNetwork):
        raise RecipeError("the checkpoint's network is a synergy of two scales already; leave --synergy out")
    network = on_two_scales(trunk, low_scale)
    section = NetworkSection(**two_scale_section(recipe.network.name, recipe.network.options, low_scale))
    return recipe.model_copy(update={"network": section}), network


def load_weights(network: nn.Module, weights: dict[str, Any], name: str) -> None:
    """Load weights into a network; raises CheckpointError where they are another network's."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        faults = str(error).splitlines()[1:2] or [str(error)]
        reason = faults[0].strip()[:200]
        raise CheckpointError(
            f"the checkpoint's weights do not fit the network {name} of this version: {reason} ...; train it again"
        ) from error
