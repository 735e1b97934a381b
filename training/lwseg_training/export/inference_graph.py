"""What a model file holds: camera bytes in, labels and uncertainty out, with everything between inside the graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lwseg_ros.model.model_file import UNCERTAINTY_KINDS
from lwseg_training.networks import TwoScaleNetwork
from lwseg_training.networks.label_blocks import LabelBlocks


class InferenceGraph(nn.Module):
    """Normalise, run the network, scale by the temperature, and reduce to a label and an uncertainty a pixel.

    Args:
        network: float [N, 3, H, W] to logits [N, C, H, W]; for ``low_scale`` a TwoScaleNetwork. Of LabelBlocks, label and
            uncertainty are made of the blocks' logits and then repeated: a block whose logits are not finite is marked as a whole.
        normalize: uint8 BGR [N, H, W, 3] to the network's input, such as `Normalize`.
        temperature: T > 0; probabilities are softmax(logits / T). For ``low_scale`` the logits are those of the low scale, ln of
            its probabilities, so T is a matter of the low scale alone. Labels do not depend on T.
        uncertainty_kind: ``least_confidence`` (1 - max p) C / (C - 1); ``margin`` 1 - (p1 - p2); ``entropy`` -sum p ln p / ln C;
            ``low_scale`` (1 - max p) C / (C - 1) of the low scale, upsampled: the uncertain-pixel mask of multi-scale synergy.
        ignore_id: label of a pixel whose logits are not finite; its uncertainty is 255.
        half: run the network in float16; normalisation and softmax stay in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: nn.Module,
        temperature: float = 1.0,
        uncertainty_kind: str = "least_confidence",
        *,
        ignore_id: int = 255,
        half: bool = False,
    ) -> None:
        super().__init__()
        if uncertainty_kind not in UNCERTAINTY_KINDS:
            raise ValueError(f"uncertainty kind {uncertainty_kind!r} is none of {UNCERTAINTY_KINDS}")
        if uncertainty_kind == "low_scale" and not isinstance(network, TwoScaleNetwork):
            raise TypeError(
                f"uncertainty kind 'low_scale' is of a network of two scales, not of a {type(network).__name__}"
            )
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature {temperature} is not a positive number")
        self.network = network.half() if half else network
        self.normalize = normalize
        self.temperature = temperature
        self.uncertainty_kind = uncertainty_kind
        self.ignore_id = ignore_id
        self.half_network = half

    def logits(self, image: Tensor) -> Tensor:
        """Map uint8 BGR [N, H, W, 3] to float32 logits [N, C, H, W], those that the label is taken from."""
        return self.network(self._network_input(image)).float()

    def uncertainty_logits(self, image: Tensor) -> Tensor:
        """Map uint8 BGR [N, H, W, 3] to float32 logits [N, C, H, W], those that the uncertainty is made of and T divides."""
        return self._both_logits(image)[1]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 BGR [N, H, W, 3] to label uint8 [N, H, W] and uncertainty uint8 [N, H, W] (0 certain, 255 not at all)."""
        if isinstance(self.network, LabelBlocks):
            logits = uncertainty_logits = self.network.of_blocks(self._network_input(image)).float()
        else:
            logits, uncertainty_logits = self._both_logits(image)
        probabilities = (uncertainty_logits * (1 / self.temperature)).softmax(dim=1)
        label_probabilities = probabilities if uncertainty_logits is logits else logits.softmax(dim=1)
        # Of the probabilities, not of the logits: the same class, and OpenVINO then needs half the time for all after the network.
        # By way of float: TensorRT's documents promise a conversion to uint8 from floating point only.
        label = label_probabilities.argmax(dim=1).float()
        uncertainty = pixel_uncertainty(probabilities, self.uncertainty_kind)
        finite = _is_possible(pixel_uncertainty(label_probabilities, "least_confidence"))
        if label_probabilities is not probabilities:
            finite = finite & _is_possible(uncertainty)
        label = torch.where(finite, label, float(self.ignore_id))
        uncertainty = torch.where(finite, uncertainty, 1.0)
        if isinstance(self.network, LabelBlocks):
            label, uncertainty = self.network.repeated(label), self.network.repeated(uncertainty)
        return label.to(torch.uint8), _levels(uncertainty)

    def _both_logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the label and those of the uncertainty, which are the same tensor but for ``low_scale``."""
        if self.uncertainty_kind != "low_scale":
            logits = self.logits(image)
            return logits, logits
        assert isinstance(self.network, TwoScaleNetwork)
        return self.network.forward_with_low(self._network_input(image))

    def _network_input(self, image: Tensor) -> Tensor:
        normalised: Tensor = self.normalize(image)
        return normalised.half() if self.half_network else normalised


def uncertainty_levels(probabilities: Tensor, kind: str) -> Tensor:
    """Reduce probabilities [N, C, H, W] to an uncertainty uint8 [N, H, W], 0 certain, 255 not at all."""
    return _levels(pixel_uncertainty(probabilities, kind))


def pixel_uncertainty(probabilities: Tensor, kind: str) -> Tensor:
    """Reduce probabilities [N, C, H, W] to an uncertainty in [0, 1], [N, H, W]; 1 where all classes are equally likely.

    For ``low_scale`` they are those of the low scale, upsampled.
    """
    num_classes = probabilities.shape[1]
    if kind in ("least_confidence", "low_scale"):
        return (1 - probabilities.amax(dim=1)) * (num_classes / (num_classes - 1))
    if kind == "margin":
        best = probabilities.topk(2, dim=1).values
        return 1 - (best[:, 0] - best[:, 1])
    return -(probabilities * probabilities.clamp(min=1e-12).log()).sum(dim=1) / math.log(num_classes)


def _levels(uncertainty: Tensor) -> Tensor:
    return (255 * uncertainty.clamp(0, 1)).round().to(torch.uint8)


def _is_possible(uncertainty: Tensor) -> Tensor:
    """Tell which pixels' logits were finite: with others softmax gives NaN, or in OpenVINO any number.

    In this form, as comparisons with NaN are true in OpenVINO where they should not be, but never "less than". The least
    confidence is looked at whatever the kind: a margin may look sound.
    """
    return (uncertainty - 0.5).abs() < 0.501
