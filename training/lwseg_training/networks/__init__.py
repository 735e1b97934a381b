"""The networks, by name. A network is one entry here and one file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from lwseg_ros.errors import RecipeError
from lwseg_training.networks.deeplabv3plus import DeepLabV3Plus
from lwseg_training.networks.dwrseg import DWRSeg
from lwseg_training.networks.lemore import LeMoRe
from lwseg_training.networks.pmsdsen import PMSDSEN
from lwseg_training.networks.synergy import DEFAULT_LOW_SCALE, Synergy


@dataclass(frozen=True)
class NetworkEntry:
    """How to build a network and where it comes from.

    ``build(num_classes=..., **options)`` returns a module that maps float32 [N, 3, H, W] (normalised RGB) to logits
    [N, num_classes, H, W] of any H and W from 32 up; in training mode it may return a list of logits, the prediction first, then
    those of auxiliary heads. Its ``class_bias`` is the parameter [num_classes] that is added to the prediction's logits,
    and its ``classifiers`` are the layers whose outputs are classes.
    Where ``sized``, weights belong to an input size, the option ``size_hw``; other sizes work, at a little more work.
    """

    build: Callable[..., nn.Module]
    paper: str
    sized: bool = False


def _build_synergy(
    num_classes: int, *, trunk: str = "dwrseg_b", trunk_options: dict[str, Any] | None = None, **options: Any
) -> nn.Module:
    return Synergy(build_network(trunk, num_classes, **(trunk_options or {})), **options)


DWRSEG_PAPER = (
    "Wei et al., DWRSeg: Rethinking Efficient Acquisition of Multi-scale Contextual Information, arXiv 2212.01173"
)

NETWORKS: dict[str, NetworkEntry] = {
    "dwrseg_b": NetworkEntry(DWRSeg.base, DWRSEG_PAPER),
    "dwrseg_l": NetworkEntry(DWRSeg.large, DWRSEG_PAPER),
    "pmsdsen": NetworkEntry(
        PMSDSEN, "Parallel Multi-Scale Detail and Semantic Encoding Network, ACM Multimedia 2023, with its supplement"
    ),
    "lemore": NetworkEntry(LeMoRe, "LeMoRe, ICIP 2025, arXiv 2505.23093 (reconstructed)", sized=True),
    "deeplabv3plus_r50": NetworkEntry(
        DeepLabV3Plus,
        "Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, arXiv 1802.02611",
    ),
    "synergy": NetworkEntry(
        _build_synergy, "Multi-scale Synergy Approach for Real-time Semantic Segmentation, around DWRSeg-B by default"
    ),
}


def synergy_around(trunk: nn.Module, low_scale: float) -> Synergy:
    """Run a network that is there already on two scales, in eval mode; raises RecipeError where the scale makes no sense."""
    try:
        return Synergy(trunk, low_scale=low_scale).eval()
    except ValueError as error:
        raise RecipeError(f"{error}; choose another --low-scale, such as {DEFAULT_LOW_SCALE}") from error


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
