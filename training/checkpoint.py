"""What a run leaves behind to be resumed, exported or judged later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lwseg_ros.errors import LwsegError
from training.networks import build_network
from training.recipe import Recipe, parse_recipe

FORMAT_VERSION = 1


class CheckpointError(LwsegError):
    """A checkpoint is missing, corrupt, or not of this package."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that the file is either the old or the new one, whole, whenever the process is killed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save({"format_version": FORMAT_VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; raises CheckpointError that says what is wrong with the file."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; `lwseg train` writes last.pt and best.pt into its --out folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(f"{path} is not a checkpoint of format {FORMAT_VERSION} written by `lwseg train`")
    return state


def network_of(state: dict[str, Any]) -> tuple[Recipe, nn.Module]:
    """Rebuild the network that a checkpoint is to be used as (the averaged weights where there are any), in eval mode."""
    recipe = parse_recipe(state["recipe"], source="checkpoint")
    network = build_network(recipe.network.name, len(state["classes"]), **recipe.network.options)
    network.load_state_dict(state["ema"] if state["ema"] is not None else state["network"])
    return recipe, network.eval()
