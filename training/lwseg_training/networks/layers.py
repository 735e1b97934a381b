"""Layers that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBN(nn.Sequential):
    """A convolution without bias, batch normalisation, and ReLU unless ``activation`` is False. Keeps H and W at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        padding = dilation * (kernel_size - 1) // 2
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        if activation:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class DepthwiseConv2d(nn.Conv2d):
    """A depth-wise convolution, 3x3 by default; ``multiplier`` maps are made of each channel. Keeps H and W, unless ``stride`` or
    ``padding`` say otherwise.

    On a CPU it computes in float32, but for 3x3 at stride and dilation 1: oneDNN's bfloat16 weight gradient of dilated depth-wise
    convolutions reads memory that nobody wrote (seen with PyTorch 2.13 at dilation 3 and 64 channels, in a quarter of the steps),
    and in bfloat16 the others take two to eight times as long.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: tuple[int, int] = (3, 3),
        multiplier: int = 1,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        same = (dilation * (kernel_size[0] - 1) // 2, dilation * (kernel_size[1] - 1) // 2)
        pads = same if padding is None else padding
        super().__init__(channels, channels * multiplier, kernel_size, stride, pads, dilation, channels, bias)

    def forward(self, features: Tensor) -> Tensor:
        plain = (self.kernel_size, self.stride, self.dilation, self.out_channels) == (
            (3, 3),
            (1, 1),
            (1, 1),
            self.in_channels,
        )
        if plain or features.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features.float())


def resize_bilinear(features: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize [N, C, h, w] to [N, C, H, W], pixel centres aligned as in OpenCV's and ONNX's half-pixel bilinear."""
    if features.shape[-2:] == size_hw:
        return features
    return F.interpolate(features, size=size_hw, mode="bilinear", align_corners=False)


def upsample_logits(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bring logits [N, C, h, w] of any float type to float32 [N, C, H, W].

    In float32, since bfloat16 rounds the sums of the gradient as well; class by class in memory, which a CPU's softmax over
    classes wants (a sixth of a training step of DWRSeg-B).
    """
    return resize_bilinear(logits.float().contiguous(), size_hw)
