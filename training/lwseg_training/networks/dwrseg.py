"""DWRSeg: dilation-wise residual segmentation, base and large (paper: Table 1, Figures 3, 4 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lwseg_training.networks.layers import ConvBN, DepthwiseConv2d, resize_bilinear, upsample_logits
from lwseg_training.networks.registry import ClassifyingNetwork, NetworkEntry, PublishedCount

Nonlinearity = Literal["paper", "no_region_relu", "no_region_bn", "no_semantic_bn", "semantic_relu", "pointwise_bn"]
"""Where the DWR module normalises and activates: the paper's choice, then switches 1 to 5 of its Table 2, experiment IV."""


class Stem(nn.Module):
    """From the image to 1/4 resolution and 64 channels (Figure 6a): the first convolution has no activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ConvBN(3, 32, 3, stride=2, activation=False)
        self.squeeze = ConvBN(32, 16, 1)
        self.convolved = ConvBN(16, 32, 3, stride=2)
        self.pooled = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvBN(64, 64, 3)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        return self.fuse(torch.cat([self.convolved(self.squeeze(first)), self.pooled(first)], dim=1))


class SIR(nn.Module):
    """Simple inverted residual (Figure 4b): 3x3 to ``expansion`` times the channels, 1x1 back, add the input.

    ``depthwise`` puts a depth-wise 3x3 between the two (Table 2, experiment V).
    """

    def __init__(self, channels: int, *, expansion: int = 3, depthwise: bool = False) -> None:
        super().__init__()
        wide = channels * expansion
        layers = [ConvBN(channels, wide, 3)]
        if depthwise:
            layers.append(ConvBN(wide, wide, 3, groups=wide, activation=False))
        layers.append(ConvBN(wide, channels, 1, activation=False))
        self.residual = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.residual(features)


class DWR(nn.Module):
    """Dilation-wise residual (Figure 4a): region residualization, then one dilated depth-wise filter a region map.

    Args:
        channels: of input and output, c.
        rates: dilation of each branch.
        ratio: how the region maps are shared out among the branches, before ``multipliers``.
        multipliers: how many maps each branch makes of one region map.
        expansion: region maps as a multiple of c.
        shared_regions: every branch filters all region maps (Table 2, experiment I, "MS"), rather than its own share.
        nonlinearity: placement of normalisation and activation (Table 2, experiment IV).
    """

    def __init__(
        self,
        channels: int,
        *,
        rates: Sequence[int],
        ratio: Sequence[int],
        multipliers: Sequence[int],
        expansion: float = 1.0,
        shared_regions: bool = False,
        nonlinearity: Nonlinearity = "paper",
    ) -> None:
        super().__init__()
        if not len(rates) == len(ratio) == len(multipliers):
            raise TypeError(f"rates {rates}, ratio {ratio} and multipliers {multipliers} differ in length")
        if nonlinearity not in get_args(Nonlinearity):
            raise TypeError(f"nonlinearity {nonlinearity!r} is none of {get_args(Nonlinearity)}")
        regions = round(channels * expansion)
        self.shared_regions = shared_regions
        self.shares = [regions] * len(rates) if shared_regions else _shares(regions, ratio)

        self.region = _region_residualization(channels, regions, nonlinearity)
        self.branches = nn.ModuleList(
            DepthwiseConv2d(share, multiplier=multiplier, dilation=rate)
            for share, multiplier, rate in zip(self.shares, multipliers, rates, strict=True)
        )
        merged = sum(share * multiplier for share, multiplier in zip(self.shares, multipliers, strict=True))
        self.normalise = nn.Identity() if nonlinearity == "no_semantic_bn" else nn.BatchNorm2d(merged)
        self.activate = nn.ReLU(inplace=True) if nonlinearity == "semantic_relu" else nn.Identity()
        normalised = nonlinearity == "pointwise_bn"
        self.pointwise = nn.Conv2d(merged, channels, 1, bias=not normalised)
        self.normalise_output = nn.BatchNorm2d(channels) if normalised else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        regions = self.region(features)
        inputs = [regions] * len(self.shares) if self.shared_regions else regions.split(self.shares, dim=1)
        maps = torch.cat([branch(part) for branch, part in zip(self.branches, inputs, strict=True)], dim=1)
        return features + self.normalise_output(self.pointwise(self.activate(self.normalise(maps))))


def _region_residualization(channels: int, regions: int, nonlinearity: Nonlinearity) -> nn.Sequential:
    if nonlinearity == "no_region_bn":
        return nn.Sequential(nn.Conv2d(channels, regions, 3, padding=1), nn.ReLU(inplace=True))
    return ConvBN(channels, regions, 3, activation=nonlinearity != "no_region_relu")


def _shares(total: int, ratio: Sequence[int]) -> list[int]:
    """Split ``total`` channels by ``ratio``; what does not divide evenly goes to the first branch."""
    shares = [total * part // sum(ratio) for part in ratio]
    shares[0] += total - sum(shares)
    return shares


class DWRSeg(ClassifyingNetwork):
    """DWRSeg (Table 1, Figure 3). Logits at the input's size from features at 1/8, 1/16 and 1/32.

    Args:
        num_classes: channels of the logits.
        sir_blocks, dwr2_blocks, dwr3_blocks: modules at 1/8, 1/16 (two branches) and 1/32 (three branches).
        sir_expansion, sir_depthwise: see SIR (Table 2, experiments VI and V).
        ratio: shares of the three branches at 1/32 (experiment II).
        expansion: region maps as a multiple of the channels in every DWR module (experiment III). Table 2 has 1.5 for its
            baseline; with that DWRSeg-B would have 3.07 M parameters, not the 2.54 M of Table 3, which 1 meets.
        shared_regions, nonlinearity: see DWR (experiments I and IV).
    """

    last_layer = "head.1"

    def __init__(
        self,
        num_classes: int,
        *,
        sir_blocks: int,
        dwr2_blocks: int,
        dwr3_blocks: int,
        sir_expansion: int = 3,
        sir_depthwise: bool = False,
        ratio: Sequence[int] = (2, 1, 1),
        expansion: float = 1.0,
        shared_regions: bool = False,
        nonlinearity: Nonlinearity = "paper",
    ) -> None:
        super().__init__()
        dwr = partial(DWR, 128, expansion=expansion, shared_regions=shared_regions, nonlinearity=nonlinearity)
        two: dict[str, Any] = {"rates": (1, 3), "ratio": (1, 1), "multipliers": (2, 1)}
        three: dict[str, Any] = {"rates": (1, 3, 5), "ratio": ratio, "multipliers": (1, 1, 1)}
        self.stem = Stem()
        self.stage2 = nn.Sequential(
            ConvBN(64, 64, 3, stride=2),
            *(SIR(64, expansion=sir_expansion, depthwise=sir_depthwise) for _ in range(sir_blocks)),
        )
        self.stage3 = nn.Sequential(ConvBN(64, 128, 3, stride=2), *(dwr(**two) for _ in range(dwr2_blocks)))
        self.stage4 = nn.Sequential(ConvBN(128, 128, 3, stride=2), *(dwr(**three) for _ in range(dwr3_blocks)))
        self.decoder_norm = nn.BatchNorm2d(64 + 128 + 128)
        self.head = nn.Sequential(ConvBN(320, 128, 3), nn.Conv2d(128, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, num_classes, H, W]."""
        eighth = self.stage2(self.stem(image))
        sixteenth = self.stage3(eighth)
        thirty_second = self.stage4(sixteenth)
        size_hw = (eighth.shape[-2], eighth.shape[-1])
        features = [eighth, resize_bilinear(sixteenth, size_hw), resize_bilinear(thirty_second, size_hw)]
        logits = self.head(self.decoder_norm(torch.cat(features, dim=1)))
        return upsample_logits(logits, (image.shape[-2], image.shape[-1]))


PAPER = "Wei et al., DWRSeg: Rethinking Efficient Acquisition of Multi-scale Contextual Information, arXiv 2212.01173"
NETWORKS = {
    "dwrseg_b": NetworkEntry(
        partial(DWRSeg, sir_blocks=7, dwr2_blocks=3, dwr3_blocks=3), PAPER, PublishedCount(2.54, 13.62)
    ),
    "dwrseg_l": NetworkEntry(
        partial(DWRSeg, sir_blocks=8, dwr2_blocks=8, dwr3_blocks=3), PAPER, PublishedCount(3.53, 16.42)
    ),
}
