"""The networks, by name. A network is one entry here and one file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from lwseg_ros.errors import RecipeError
from training.networks.dwrseg import DWRSeg


@dataclass(frozen=True)
class NetworkEntry:
    """How to build a network and where it comes from.

    ``build(num_classes=..., **options)`` returns a module that maps float32 [N, 3, H, W] (normalised RGB) to logits
    [N, num_classes, H, W] of any H and W from 32 up; in training mode it may return a list of logits, the prediction first, then
    those of auxiliary heads. Its ``class_bias`` is the parameter [num_classes] that is added to the prediction's logits.
    """

    build: Callable[..., nn.Module]
    paper: str


DWRSEG_PAPER = (
    "Wei et al., DWRSeg: Rethinking Efficient Acquisition of Multi-scale Contextual Information, arXiv 2212.01173"
)

NETWORKS: dict[str, NetworkEntry] = {
    "dwrseg_b": NetworkEntry(DWRSeg.base, DWRSEG_PAPER),
    "dwrseg_l": NetworkEntry(DWRSeg.large, DWRSEG_PAPER),
}


def build_network(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Build a registered network with random weights.

    Raises RecipeError where the name is not registered or the network does not take an option.
    """
    if name not in NETWORKS:
        raise RecipeError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    if num_classes < 2:
        raise RecipeError(f"a segmentation needs 2 classes or more, not {num_classes}")
    try:
        return NETWORKS[name].build(num_classes=num_classes, **options)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # what layers raise for sizes without sense
        raise RecipeError(f"network {name!r} does not take the options {options}: {error}") from error
