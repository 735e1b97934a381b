"""The networks, by name, as their files declare them.

A network is one file in this folder, which holds a dictionary ``NETWORKS`` of names and entries; nothing else needs to know of it:

    NETWORKS = {"toy": NetworkEntry(Toy, "Doe et al., A Toy for Segmentation, arXiv 2601.00001")}

It then can be trained, exported, counted and listed, and tests/training/networks/test_networks.py holds it to the contract in
tests/support/network_contract.py. It has to offer

- ``forward``: from float32 [N, 3, H, W] (normalised RGB) to logits [N, num_classes, H, W], of any H and W from 32 up; in training
  mode it may return a list of logits, the prediction first, then those of auxiliary heads.
- ``class_bias``: the parameter [num_classes] that is added to the prediction's logits.
- ``classifiers``: the layers whose outputs are classes; a `ClassifyingNetwork` has both.

and may offer

- ``adapt_weights(weights)``, of any of its modules: bring a checkpoint's tensors, by their names in that module, to the names and
  sizes of its own (see `adapted_weights`).
- ``heads``: the modules that end in its classes, which may learn at a rate of their own; by default the ``classifiers``.
- ``backbone``: the module that its classifier for pretraining shares with it.
- the methods of `TwoScaleNetwork`, for the uncertainty of a low scale.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from lwseg_ros.errors import RecipeError

LISTED_FIRST = ("dwrseg", "pmsdsen", "lemore", "deeplabv3plus", "synergy")  # the files of others follow by name


@dataclass(frozen=True)
class PublishedCount:
    """Trainable parameters in millions and multiply-adds in billions as published, for an input size, a number of classes and
    options, and the shares by which the network's own may differ.
    """

    millions: float
    billions: float
    size_hw: tuple[int, int] = (512, 1024)
    num_classes: int = 19
    options: dict[str, Any] = field(default_factory=dict)
    parameters_within: float = 0.02
    multiply_adds_within: float = 0.02


@dataclass(frozen=True)
class NetworkEntry:
    """How to build a network and where it comes from.

    Attributes:
        build: ``build(num_classes=..., **options)`` returns the module.
        paper: where it is described.
        count: how large it has to be, where that was published.
        sized: whether weights belong to an input size, the option ``size_hw``; other sizes work, at a little more work.
        classifier: ``classifier(num_classes, **options)`` returns the network that is pretrained on whole images: it maps
            float32 [N, 3, H, W] to logits [N, num_classes] and has ``class_bias``, ``classifiers`` and ``backbone``.
    """

    build: Callable[..., nn.Module]
    paper: str
    count: PublishedCount | None = None
    sized: bool = False
    classifier: Callable[..., nn.Module] | None = None


NETWORKS: dict[str, NetworkEntry] = {}


def discover() -> None:
    """Take up what the files of this folder declare, and forget what was there before; raises ValueError for a name used twice."""
    folder = importlib.import_module(__package__).__path__
    files = sorted({info.name for info in pkgutil.iter_modules(folder)} - {"registry", *LISTED_FIRST})
    NETWORKS.clear()
    for file in (*LISTED_FIRST, *files):
        module = importlib.import_module(f"{__package__}.{file}")
        for name, entry in getattr(module, "NETWORKS", {}).items():
            if name in NETWORKS:
                raise ValueError(f"{module.__file__} declares the network {name!r}, which is there already")
            NETWORKS[name] = entry


def build_network(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Build a registered network with random weights.

    Raises RecipeError where the name is not registered or the network does not take an option.
    """
    if name not in NETWORKS:
        raise RecipeError(f"no network {name!r}; there are: {', '.join(NETWORKS)}")
    if num_classes < 2:
        raise RecipeError(f"a segmentation needs 2 classes or more, not {num_classes}")
    return _built(f"network {name!r}", NETWORKS[name].build, num_classes, options)


def build_classifier(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Build the classifier of a registered network with random weights, to pretrain its backbone.

    Raises RecipeError where the network has none or the classifier does not take an option.
    """
    classifiers = {name: entry.classifier for name, entry in NETWORKS.items() if entry.classifier is not None}
    if name not in classifiers:
        raise RecipeError(f"no network {name!r} that classifies images; there are: {', '.join(classifiers)}")
    return _built(f"classifier {name!r}", classifiers[name], num_classes, options)


def _built(what: str, build: Callable[..., nn.Module], num_classes: int, options: dict[str, Any]) -> nn.Module:
    try:
        return build(num_classes=num_classes, **options)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # what layers raise for sizes without sense
        raise RecipeError(f"{what} does not take the options {options}: {error}") from error


class ClassifyingNetwork(nn.Module):
    """A network whose classes come of one layer, which a subclass names as `nn.Module.get_submodule` takes it."""

    last_layer: ClassVar[str]

    @property
    def class_bias(self) -> nn.Parameter:
        """Return the bias [num_classes] of the last layer."""
        return self.get_submodule(self.last_layer).bias  # type: ignore[return-value]

    @property
    def classifiers(self) -> list[nn.Module]:
        """Return the layers whose outputs are classes."""
        return [self.get_submodule(self.last_layer)]


class TwoScaleNetwork(nn.Module):
    """A network whose ``trunk`` runs on the image and on a reduced copy, ``low_scale`` times its size."""

    trunk: nn.Module
    low_scale: float

    def forward_with_low(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to logits and the low scale's logits, float32 [N, C, H, W] both."""
        raise NotImplementedError

    def scales(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to the probabilities of the high and of the low scale, float32 [N, C, H, W] both."""
        raise NotImplementedError


def adapted_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the weights of a checkpoint to the names and sizes of a network, as far as its modules know how to.

    Every module with a method ``adapt_weights`` is asked, from the outside inwards, for the tensors whose names lie in it.
    """
    weights = dict(weights)
    for place, module in network.named_modules():
        if hasattr(module, "adapt_weights"):
            prefix = f"{place}." if place else ""
            own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            adapted = {prefix + name: value for name, value in module.adapt_weights(own).items()}
            others = {name: value for name, value in weights.items() if name in adapted or not name.startswith(prefix)}
            weights = others | adapted
    return weights
