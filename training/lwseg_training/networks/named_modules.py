"""Modules of a network that a recipe names."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from lwseg_ros.errors import RecipeError


def named_modules(network: nn.Module, names: Iterable[str], setting: str) -> list[nn.Module]:
    """Return the modules of such names, as PyTorch has them (``backbone.stages.1``).

    Raises RecipeError, which begins with the recipe's ``setting``, where there is none of a name.
    """
    modules = dict(network.named_modules())
    for name in names:
        if name not in modules or name == "":
            stages = ", ".join(child for child, _ in network.named_children())
            raise RecipeError(
                f"{setting}: a {type(network).__name__} has no module {name!r}; its stages are {stages}, and "
                "what is in them goes by names with dots"
            )
    return [modules[name] for name in names]
