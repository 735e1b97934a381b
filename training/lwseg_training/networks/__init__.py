"""The networks. Other code names none of them and uses what is here; a network is one file beside this one (registry.py)."""

from lwseg_training.networks.registry import (
    NETWORKS,
    TwoScaleNetwork,
    adapted_weights,
    build_classifier,
    build_network,
    discover,
)
from lwseg_training.networks.synergy import DEFAULT_LOW_SCALE, Combine, combine_scales, on_two_scales, two_scale_section

__all__ = [
    "DEFAULT_LOW_SCALE",
    "NETWORKS",
    "Combine",
    "TwoScaleNetwork",
    "adapted_weights",
    "build_classifier",
    "build_network",
    "combine_scales",
    "on_two_scales",
    "two_scale_section",
]

discover()
