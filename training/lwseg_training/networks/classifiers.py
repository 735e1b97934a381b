"""The networks that classify whole images, by name: what gives a segmentation its pretrained backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lwseg_ros.errors import RecipeError
from lwseg_training.networks.lemore import LeMoReClassifier

# build(num_classes, **options) maps float32 [N, 3, H, W] (normalised RGB) to logits [N, num_classes]. Its ``backbone`` has the
# parameters of the registered segmentation network of that name, and ``class_bias`` and ``classifiers`` are those of NetworkEntry.
CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {"lemore": LeMoReClassifier}


def build_classifier(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Build a network for classification with random weights.

    Raises RecipeError where there is none of that name or it does not take an option.
    """
    if name not in CLASSIFIERS:
        raise RecipeError(f"no network {name!r} that classifies images; there are: {', '.join(CLASSIFIERS)}")
    try:
        return CLASSIFIERS[name](num_classes, **options)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise RecipeError(f"classifier {name!r} does not take the options {options}: {error}") from error
