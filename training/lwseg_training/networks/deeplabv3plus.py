"""DeepLabv3+ on ResNet-50 (Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018, arXiv 1802.02611)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lwseg_training.networks.layers import ConvBN, DepthwiseConv2d, resize_bilinear, upsample_logits
from lwseg_training.networks.registry import ClassifyingNetwork, NetworkEntry, PublishedCount
from lwseg_training.networks.resnet import ResNet50

BACKBONE_CHANNELS = 2048
QUARTER_CHANNELS = 256
WIDTH = 256


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with image pooling (Section 3.1), [N, in_channels, h, w] to [N, 256, h, w].

    Training with one image a batch is refused by the batch normalisation of the globally pooled features.
    """

    def __init__(self, in_channels: int, rates: Sequence[int], *, separable: bool, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvBN(in_channels, WIDTH)])
        self.branches.extend(_conv3x3(in_channels, dilation=rate, separable=separable) for rate in rates)
        self.pooled = ConvBN(in_channels, WIDTH)
        self.project = nn.Sequential(ConvBN((len(rates) + 2) * WIDTH, WIDTH), nn.Dropout(dropout))

    def forward(self, features: Tensor) -> Tensor:
        maps = [branch(features) for branch in self.branches]
        pooled = self.pooled(features.mean(dim=(2, 3), keepdim=True))
        return self.project(torch.cat([*maps, pooled.expand_as(maps[0])], dim=1))


def _conv3x3(in_channels: int, *, dilation: int = 1, separable: bool) -> nn.Sequential:
    """Convolve 3x3 to 256 channels, or depth-wise and then point-wise (Section 3.2)."""
    if not separable:
        return ConvBN(in_channels, WIDTH, 3, dilation=dilation)
    return nn.Sequential(DepthwiseConv2d(in_channels, dilation=dilation), *ConvBN(in_channels, WIDTH))


class DeepLabV3Plus(ClassifyingNetwork):
    """DeepLabv3+ on ResNet-50. Logits at the input's size from features at 1/4 and at the output stride.

    The paper counts no ResNet-50. What public implementations state at 21 classes, both met by a choice of options:
    segmentation_models.pytorch 26,682,725 parameters (``separable``), DeepLabV3Plus-Pytorch 62.7 G multiply-adds at
    513 x 513 (``decoder_convolutions`` 1). The default, the paper's decoder with dense convolutions, has 40.35 M parameters.

    Args:
        num_classes: channels of the logits.
        output_stride: 8, 16 or 32, of the backbone.
        aspp_rates: dilations of the pyramid's 3x3 convolutions; the paper doubles them at output stride 8.
        low_level_channels: to which the features at 1/4 are reduced (Table 1).
        decoder_convolutions: 3x3 convolutions on the joined features (Table 2).
        separable: make the 3x3 convolutions of pyramid and decoder depth-wise separable (Section 3.2).
        dropout: probability after the pyramid.
    """

    last_layer = "classifier"

    def __init__(
        self,
        num_classes: int,
        *,
        output_stride: int = 16,
        aspp_rates: Sequence[int] = (6, 12, 18),
        low_level_channels: int = 48,
        decoder_convolutions: int = 2,
        separable: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if isinstance(aspp_rates, str) or len(aspp_rates) == 0:
            raise ValueError(f"aspp_rates {aspp_rates!r} are not one or more dilations")
        _check_positive_integers("aspp_rates", *aspp_rates)
        _check_positive_integers("num_classes", num_classes)
        _check_positive_integers("low_level_channels", low_level_channels)
        _check_positive_integers("decoder_convolutions", decoder_convolutions)
        if not isinstance(separable, bool):
            raise TypeError(f"separable is True or False, not {separable!r}")

        self.backbone = ResNet50(output_stride=output_stride)
        self.aspp = ASPP(BACKBONE_CHANNELS, aspp_rates, separable=separable, dropout=dropout)
        self.low_level = ConvBN(QUARTER_CHANNELS, low_level_channels)
        self.decoder = nn.Sequential(
            *(
                _conv3x3(WIDTH if index else low_level_channels + WIDTH, separable=separable)
                for index in range(decoder_convolutions)
            )
        )
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, num_classes, H, W]."""
        quarter, deep = self.backbone(image)
        context = resize_bilinear(self.aspp(deep), (quarter.shape[-2], quarter.shape[-1]))
        logits = self.classifier(self.decoder(torch.cat([self.low_level(quarter), context], dim=1)))
        return upsample_logits(logits, (image.shape[-2], image.shape[-1]))


def _check_positive_integers(name: str, *values: object) -> None:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} takes whole numbers, not {value!r}")
        if value < 1:
            raise ValueError(f"{name} takes numbers from 1 up, not {value}")


NETWORKS = {
    "deeplabv3plus_r50": NetworkEntry(
        DeepLabV3Plus,
        "Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, arXiv 1802.02611",
        # DeepLabV3Plus-Pytorch on GitHub, whose decoder has one convolution.
        PublishedCount(39.76, 62.7, (513, 513), 21, {"decoder_convolutions": 1}, 0.03, 0.03),
    )
}
