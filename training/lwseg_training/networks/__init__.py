"""The networks. Other code names none of them and uses what is here; a network is one file beside this one (registry.py)."""

from lwseg_training.networks.registry import (
    NETWORKS,
    NetworkEntry,
    adapted_weights,
    build_classifier,
    build_network,
    discover,
)
from lwseg_training.networks.synergy import on_two_scales, two_scale_section
from lwseg_training.networks.two_scales import DEFAULT_LOW_SCALE, Combine, TwoScaleNetwork, combine_scales

__all__ = [
    "DEFAULT_LOW_SCALE",
    "NETWORKS",
    "Combine",
    "NetworkEntry",
    "TwoScaleNetwork",
    "adapted_weights",
    "build_classifier",
    "build_network",
    "combine_scales",
    "on_two_scales",
    "two_scale_section",
]

discover()
