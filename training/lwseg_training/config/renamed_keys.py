"""Recipe keys that had another name in earlier versions, which files, checkpoints and summaries of those still hold."""

from __future__ import annotations

import warnings
from typing import Any

from lwseg_ros.errors import RecipeError

RENAMED = {
    "dataset.leave_out": "dataset.held_out",
    "loss.prior_correction": "loss.logit_adjustment",
    "network.initial_weights": "network.warm_start",
    "network.initial_weights_left_out": "network.warm_start_held_out",
}


def current_key(key: str, source: str | None = None) -> str:
    """Return the name that a key, its sections before it with dots between, has now.

    ``source``: what somebody can correct, such as the path of a file; an old name in it is warned of.
    """
    if key in RENAMED and source is not None:
        warnings.warn(f"{source}: {key} is called {RENAMED[key]} now; rename it", FutureWarning, stacklevel=2)
    return RENAMED.get(key, key)


def with_current_keys(values: dict[str, Any], source: str | None = None) -> dict[str, Any]:
    """Return a recipe's plain dictionaries with the names that keys have now; the given ones stay as they are.

    Raises RecipeError where a key is there by both of its names.
    """

    def renamed(section: str, keys: dict[str, Any]) -> dict[str, Any]:
        for old, new in RENAMED.items():
            if {old, new} <= {f"{section}.{key}" for key in keys}:
                raise RecipeError(f"{source or 'recipe'}: {old} and {new} are one key; give only {new}")
        return {current_key(f"{section}.{key}", source).rpartition(".")[2]: value for key, value in keys.items()}

    return {name: renamed(name, value) if isinstance(value, dict) else value for name, value in values.items()}
