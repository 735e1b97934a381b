"""What of a network a recipe leaves as it starts."""

from __future__ import annotations

from torch import nn

from lwseg_training.config.recipe import TrainingSettings
from lwseg_training.engine.batch_norm import freeze_batch_norm
from lwseg_training.networks.named_modules import named_modules


def freeze(network: nn.Module, recipe: TrainingSettings) -> None:
    """Put what is frozen into eval mode, and its parameters out of training.

    ``network.train()`` undoes the first, so this is to be called after it; the rest of the network stays in the mode it is in.
    Raises RecipeError where the network has no module of a name.
    """
    if recipe.freeze_batch_norm:
        freeze_batch_norm(network)
    for module in named_modules(network, recipe.network.frozen_statistics, "network.frozen_statistics"):
        freeze_batch_norm(module)
    for module in named_modules(network, recipe.network.frozen, "network.frozen"):
        module.eval().requires_grad_(False)
