"""What a model file holds: camera bytes in, labels and uncertainty out, with everything between inside the graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.normalization import Normalize

UNCERTAINTY_KINDS = ("least_confidence", "margin", "entropy")


class InferenceGraph(nn.Module):
    """Normalise, run the network, scale by the temperature, and reduce to a label and an uncertainty a pixel.

    Args:
        network: float [N, 3, H, W] to logits [N, C, H, W].
        normalize: uint8 BGR [N, H, W, 3] to the network's input.
        temperature: T > 0; probabilities are softmax(logits / T).
        uncertainty_kind: ``least_confidence`` (1 - max p) C / (C - 1); ``margin`` 1 - (p1 - p2); ``entropy`` -sum p ln p / ln C.
        half: run the network in float16; normalisation and softmax stay in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: Normalize,
        temperature: float = 1.0,
        uncertainty_kind: str = "least_confidence",
        *,
        half: bool = False,
    ) -> None:
        super().__init__()
        if uncertainty_kind not in UNCERTAINTY_KINDS:
            raise ValueError(f"uncertainty kind {uncertainty_kind!r} is none of {UNCERTAINTY_KINDS}")
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature {temperature} is not a positive number")
        self.network = network.half() if half else network
        self.normalize = normalize
        self.temperature = temperature
        self.uncertainty_kind = uncertainty_kind
        self.half_network = half

    def logits(self, image: Tensor) -> Tensor:
        """Map uint8 BGR [N, H, W, 3] to float32 logits [N, C, H, W], not yet divided by the temperature."""
        normalised = self.normalize(image)
        return self.network(normalised.half() if self.half_network else normalised).float()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 BGR [N, H, W, 3] to label uint8 [N, H, W] and uncertainty uint8 [N, H, W] (0 certain, 255 not at all)."""
        logits = self.logits(image)
        probabilities = (logits * (1 / self.temperature)).softmax(dim=1)
        # Of the probabilities, not of the logits: the same class, and OpenVINO then needs half the time for all after the network.
        # By way of float: TensorRT's documents promise a conversion to uint8 from floating point only.
        label = probabilities.argmax(dim=1).float().to(torch.uint8)
        uncertainty = pixel_uncertainty(probabilities, self.uncertainty_kind)
        return label, (255 * uncertainty.clamp(0, 1)).round().to(torch.uint8)


def pixel_uncertainty(probabilities: Tensor, kind: str) -> Tensor:
    """Reduce probabilities [N, C, H, W] to an uncertainty in [0, 1], [N, H, W]; 1 where all classes are equally likely."""
    num_classes = probabilities.shape[1]
    if kind == "least_confidence":
        return (1 - probabilities.amax(dim=1)) * (num_classes / (num_classes - 1))
    if kind == "margin":
        best = probabilities.topk(2, dim=1).values
        return 1 - (best[:, 0] - best[:, 1])
    return -(probabilities * probabilities.clamp(min=1e-12).log()).sum(dim=1) / math.log(num_classes)
