"""LiteSeg: EfficientNet-Lite under a top-down decoder, plain or of the papers' own blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn

from lwseg_training.networks.dwrseg import DWR, SIR
from lwseg_training.networks.efficientnet_lite import EfficientNetLite
from lwseg_training.networks.layers import ConvBN, DepthwiseConv2d, resize_bilinear, upsample_logits
from lwseg_training.networks.pmsdsen_blocks import PMSDSE
from lwseg_training.networks.registry import ClassifyingNetwork, NetworkEntry

Decoder = Literal["plain", "dwr", "pmsdse"]
"""What refines the joined features of a level: a separable convolution; DWRSeg's modules (at 1/32 and 1/16 DWR, at 1/8 SIR); or
PMSDSEN's multi-scale encoders at 1/8 and coarser. At 1/4 it is a separable convolution always."""

STRIDES = (4, 8, 16, 32)


class Separable(nn.Sequential):
    """A depth-wise 3x3 convolution, then a point-wise one, each normalised; [N, channels, h, w] stays."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            DepthwiseConv2d(channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *ConvBN(channels, channels)
        )


class LiteSeg(ClassifyingNetwork):
    """EfficientNet-Lite's features at 1/4 to 1/32, each brought to ``channels``, joined from the coarsest to the finest.

    Training with one image a batch is refused by the batch normalisation of the globally pooled features.

    Args:
        num_classes: channels of the logits.
        variant: of the encoder, 0, 1 or 2.
        decoder: see Decoder.
        channels: of every level of the decoder.
        finest: 4 or 8, the stride at which the classes are told apart.
        dropout: probability of a channel of the last features.
    """

    last_layer = "classifier"

    def __init__(
        self,
        num_classes: int,
        *,
        variant: int = 0,
        decoder: Decoder = "plain",
        channels: int = 128,
        finest: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if decoder not in get_args(Decoder):
            raise ValueError(f"decoder {decoder!r} is none of {get_args(Decoder)}")
        if finest not in STRIDES[:2]:
            raise ValueError(f"finest {finest!r} is neither 4 nor 8")
        self.backbone = EfficientNetLite(variant)
        self.strides = STRIDES[STRIDES.index(finest) :]
        inputs = self.backbone.channels[-len(self.strides) :]
        self.laterals = nn.ModuleList(ConvBN(c, channels, activation=False) for c in inputs)
        self.context = ConvBN(inputs[-1], channels)
        self.levels = nn.ModuleList(_refinement(decoder, stride, channels) for stride in self.strides)
        self.head = nn.Sequential(Separable(channels), nn.Dropout2d(dropout))
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, image: Tensor, step: int = 1) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, num_classes, H, W].

        With a ``step`` below the finest stride, which it has to divide, as it has H and W: [N, num_classes, H / step, W / step],
        one for each block of step x step pixels, which is the mean of theirs. Raises ValueError for another step.
        """
        features = self.backbone(image)[-len(self.strides) :]
        joined, coarsest = self.context(features[-1].mean(dim=(2, 3), keepdim=True)), True
        for feature, lateral, level in zip(features[::-1], self.laterals[::-1], self.levels[::-1], strict=True):
            own = lateral(feature)
            joined = level(own + (joined.expand_as(own) if coarsest else _upsample(joined, own)))
            coarsest = False
        logits = self.classifier(self.head(joined))
        height, width = image.shape[-2:]
        if step > 1 and (step >= self.strides[0] or any(side % step for side in (self.strides[0], height, width))):
            raise ValueError(
                f"a step of {step} is not below the stride {self.strides[0]}, or does not divide it and {height} x {width}"
            )
        times = self.strides[0] // step
        whole = upsample_logits(logits, (logits.shape[-2] * times, logits.shape[-1] * times))
        return whole[..., : height // step, : width // step]


def _upsample(features: Tensor, finer: Tensor) -> Tensor:
    """Double the size of features, and cut off what ``finer`` does not have at the right and at the bottom.

    A stage rounds an odd size up, so that its last pixels stand for more than there is; a resize to the finer size would shift all.
    """
    height, width = finer.shape[-2:]
    return resize_bilinear(features, (features.shape[-2] * 2, features.shape[-1] * 2))[..., :height, :width]


def _refinement(decoder: Decoder, stride: int, channels: int) -> nn.Module:
    """Build what refines a level."""
    if decoder == "plain" or stride == 4:
        return Separable(channels)
    if decoder == "pmsdse":
        return PMSDSE(channels, dilations=(1, 2, 3, 6))
    of_stride: dict[int, Callable[[int], nn.Module]] = {
        8: partial(SIR, expansion=1),
        16: partial(DWR, rates=(1, 3), ratio=(1, 1), multipliers=(2, 1)),
        32: partial(DWR, rates=(1, 3, 5), ratio=(2, 1, 1), multipliers=(1, 1, 1)),
    }
    return of_stride[stride](channels)


PAPER = (
    "Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946"
)
NETWORKS = {f"lite_seg{variant}": NetworkEntry(partial(LiteSeg, variant=variant), PAPER) for variant in (0, 1, 2)}
