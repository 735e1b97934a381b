"""Multi-scale synergy: one network on two scales of the image, joined where the low scale is unsure.

Van Toan and Kim, Multi-scale synergy approach for real-time semantic segmentation (Section III, Figure 2, equation 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_ros.errors import RecipeError
from lwseg_training.networks.layers import resize_bilinear
from lwseg_training.networks.registry import NetworkEntry, PublishedCount, TwoScaleNetwork, build_network

Combine = Literal["synergy", "mean", "max", "high", "low"]
"""How two scales become one prediction: equation 1, what the paper compares it with, or one scale alone."""

MIN_SIZE = 32  # the least height and width that every network takes
LEAST_PROBABILITY = 1e-30  # keeps the logarithm and its gradient finite in float32
DEFAULT_LOW_SCALE = 0.5  # the paper's
TRUNK_PREFIX = "trunk."


def synergy(high: Tensor, low: Tensor) -> Tensor:
    """Combine probabilities by equation 1, S = U(low) + high * U(1 - low), U bilinear upsampling.

    Args:
        high: [N, C, H, W], of the image at scale 1.
        low: [N, C, h, w], of the image at the low scale.

    Returns S [N, C, H, W]. At each pixel its classes add up to between 1 and 2.
    """
    low = resize_bilinear(low, (high.shape[-2], high.shape[-1]))
    return low + high * (1 - low)  # U(1 - low) = 1 - U(low), since the weights of U add up to 1


def combine_scales(high: Tensor, low: Tensor, combine: Combine) -> Tensor:
    """Combine the probabilities of two scales, [N, C, H, W] both, to logits [N, C, H, W]: their softmax is normalised."""
    if combine == "high":
        return _logarithm(high)
    if combine == "low":
        return _logarithm(low)
    if combine == "mean":
        return _logarithm((high + low) / 2)
    if combine == "max":
        return _logarithm(torch.maximum(high, low))
    return _logarithm(synergy(high, low))


class Synergy(TwoScaleNetwork):
    """Run a network on the image and on a reduced copy, with the same weights, and combine the class probabilities.

    The logits are ln(S / sum of S over the classes): their softmax is S normalised, their argmax is that of S, and their
    cross-entropy is the negative log-likelihood on S (equation 3). In training mode, batch statistics are taken of each scale
    in turn, so that the running ones are a mixture of both.

    A state dict of the trunk by itself loads as well.

    Args:
        trunk: float32 [N, 3, H, W] to logits [N, C, H, W], or in training mode a list with those of auxiliary heads after the
            prediction; has ``class_bias``.
        low_scale: the reduced image's size as a share of the image's, above 0 and below 1; neither height nor width goes below
            32, the least that networks take.
        combine: ``synergy``; ``mean`` and ``max`` of both scales' probabilities (Section II), normalised; ``high`` and ``low``
            run one scale alone.
    """

    def __init__(self, trunk: nn.Module, *, low_scale: float = DEFAULT_LOW_SCALE, combine: Combine = "synergy") -> None:
        super().__init__()
        if not isinstance(trunk, nn.Module) or not isinstance(getattr(trunk, "class_bias", None), nn.Parameter):
            raise TypeError(f"trunk {trunk!r} is no network with a class_bias")
        if isinstance(trunk, Synergy):
            raise TypeError("the trunk is a Synergy itself; give the trunk of that one")
        if isinstance(low_scale, bool) or not isinstance(low_scale, (int, float)):
            raise TypeError(f"low_scale is a number, not {low_scale!r}")
        if not 0 < low_scale < 1:
            raise ValueError(f"low_scale {low_scale} is not above 0 and below 1")
        if combine not in get_args(Combine):
            raise ValueError(f"combine {combine!r} is none of {get_args(Combine)}")
        self.trunk = trunk
        self.low_scale = low_scale
        self.combine = combine
        self.register_load_state_dict_pre_hook(_adopt_trunk_weights)  # type: ignore[no-untyped-call]

    @property
    def class_bias(self) -> nn.Parameter:
        """Return the trunk's, [C]: logit adjustment acts on the logits of each scale, before they are combined."""
        return self.trunk.class_bias  # type: ignore[return-value]

    @property
    def classifiers(self) -> list[nn.Module]:
        """Return the trunk's layers whose outputs are classes."""
        return self.trunk.classifiers  # type: ignore[return-value]

    @property
    def backbone(self) -> nn.Module:
        """Return the trunk's; raises AttributeError where it has none."""
        return self.trunk.backbone  # type: ignore[return-value]

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give a trunk's own weights the names that they have in here; a synergy's keep theirs."""
        if any(name.startswith(TRUNK_PREFIX) for name in weights):
            return dict(weights)
        return {TRUNK_PREFIX + name: value for name, value in weights.items()}

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, C, H, W].

        In training mode with auxiliary heads: those logits, then the auxiliary logits of the high scale (``low``: the low one).
        """
        high, low, auxiliary = self._scales(image, self.combine != "high", self.combine != "low")
        logits = self._logits(high, low)
        return [logits, *auxiliary] if auxiliary else logits

    def forward_with_low(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to logits and the low scale's, ln of its probabilities, float32 [N, C, H, W] both.

        1 - the largest of the low scale's probabilities is the paper's mask of uncertain pixels (Section III-A).
        """
        high, low, _ = self._scales(image, True, self.combine != "low")
        assert low is not None
        return self._logits(high, low), low.clamp(min=LEAST_PROBABILITY).log()

    def scales(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to the probabilities of the high and of the low scale, float32 [N, C, H, W] both."""
        high, low, _ = self._scales(image, True, True)
        assert high is not None
        assert low is not None
        return high, low

    def _scales(
        self, image: Tensor, with_low: bool, with_high: bool
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
        """Return the probabilities of the scales asked for, [N, C, H, W] each, and the auxiliary logits of the higher one."""
        height, width = image.shape[-2:]
        high = low = None
        auxiliary: list[Tensor] = []
        if with_low:
            size_hw = (_reduced(height, self.low_scale), _reduced(width, self.low_scale))
            probabilities, auxiliary = self._run(resize_bilinear(image, size_hw))
            low = resize_bilinear(probabilities, (height, width))
        if with_high:
            high, auxiliary = self._run(image)
        return high, low, auxiliary

    def _run(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        outputs = self.trunk(image)
        prediction, *auxiliary = [outputs] if isinstance(outputs, Tensor) else outputs
        return F.softmax(prediction.float(), dim=1), auxiliary

    def _logits(self, high: Tensor | None, low: Tensor | None) -> Tensor:
        if high is None or low is None:  # one scale alone
            only = low if high is None else high
            assert only is not None
            return _logarithm(only)
        return combine_scales(high, low, self.combine)


def _logarithm(combined: Tensor) -> Tensor:
    """Normalise over the classes and take the logarithm."""
    return (combined / combined.sum(dim=1, keepdim=True)).clamp(min=LEAST_PROBABILITY).log()


def _reduced(size: int, scale: float) -> int:
    return min(size, max(MIN_SIZE, round(size * scale)))


def _adopt_trunk_weights(module: Synergy, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Rename the keys of a trunk's own state dict to those it has inside the wrapper."""
    own = {key.removeprefix(prefix): state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
    state_dict.update({prefix + key: value for key, value in module.adapt_weights(own).items()})


def on_two_scales(network: nn.Module, low_scale: float | None = None) -> TwoScaleNetwork:
    """Run a network that is there already on two scales, in eval mode; of a network of two scales, its trunk.

    Args:
        network: a registered network, or its like.
        low_scale: the low scale's share; by default the network's own, or 0.5.

    Raises RecipeError where ``low_scale`` is not above 0 and below 1.
    """
    trunk, own_scale = network, DEFAULT_LOW_SCALE
    if isinstance(network, TwoScaleNetwork):
        trunk, own_scale = network.trunk, network.low_scale
    try:
        return Synergy(trunk, low_scale=own_scale if low_scale is None else low_scale).eval()
    except ValueError as error:
        raise RecipeError(f"{error}; choose another --low-scale, such as {DEFAULT_LOW_SCALE}") from error


def two_scale_section(trunk: str, trunk_options: dict[str, Any], low_scale: float) -> dict[str, Any]:
    """Return the section ``network`` of a recipe that builds a registered network on two scales."""
    return {"name": "synergy", "options": {"trunk": trunk, "trunk_options": trunk_options, "low_scale": low_scale}}


def _build(
    num_classes: int, *, trunk: str = "dwrseg_b", trunk_options: dict[str, Any] | None = None, **options: Any
) -> nn.Module:
    return Synergy(build_network(trunk, num_classes, **(trunk_options or {})), **options)


NETWORKS = {
    "synergy": NetworkEntry(
        _build,
        "Multi-scale Synergy Approach for Real-time Semantic Segmentation, around DWRSeg-B by default",
        PublishedCount(2.54, 13.62 * 1.25),  # none is published: DWRSeg-B, run a second time on a quarter of the pixels
    )
}
