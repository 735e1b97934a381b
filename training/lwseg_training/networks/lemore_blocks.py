"""The parts of LeMoRe: views along an axis, the C-Encoder block, Nested Attention and gated fusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_training.networks.layers import ConvBN, DepthwiseConv2d, resize_bilinear

View = Literal["transverse", "frontal", "lateral"]
"""What a 1x1 convolution mixes: the channels, the rows (height axis) or the columns (width axis)."""

Axis = Literal["height", "width"]

VIEWS: tuple[View, ...] = get_args(View)


def resampling_matrix(size: int, from_size: int) -> Tensor:
    """Return the linear resampling of ``from_size`` samples to ``size``: float32 [size, from_size], every row sums to 1.

    Sample centres are aligned and the ends held, as in ``resize_bilinear``; equal sizes give the identity exactly.
    """
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * (from_size / size) - 0.5
    distances = centres.clamp(0, from_size - 1)[:, None] - torch.arange(from_size, dtype=torch.float64)
    return (1 - distances.abs()).clamp(min=0).float()


def resize_axis_matrix(matrix: Tensor, size: int) -> Tensor:
    """Turn an axis matrix [s, s] into one for ``size`` samples: up(matrix(down(x))) as one matrix [size, size]."""
    if size == matrix.shape[0]:
        return matrix
    down = resampling_matrix(matrix.shape[0], size).to(matrix)
    up = resampling_matrix(size, matrix.shape[0]).to(matrix)
    with torch.autocast(matrix.device.type, enabled=False):  # bfloat16 would blur where the samples lie
        return up @ matrix @ down


class AxisMatrix(nn.Module):
    """A 1x1 convolution over the height or the width axis: one learned matrix mixes the lines of all channels alike.

    The matrix belongs to one length of the axis. Features of another length get it resized (``resize_axis_matrix``).
    """

    def __init__(self, size: int, axis: Axis) -> None:
        super().__init__()
        self.size = size
        self.axis = axis
        self.weight = nn.Parameter(torch.empty(size, size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as torch's convolutions and linear layers

    def forward(self, features: Tensor) -> Tensor:
        """Mix [N, C, H, W] along the axis; the size stays."""
        if self.axis == "width":
            return F.linear(features, resize_axis_matrix(self.weight, features.shape[-1]))
        matrix = resize_axis_matrix(self.weight, features.shape[-2])
        return F.linear(features.transpose(-1, -2), matrix).transpose(-1, -2)


class ChannelAttention(nn.Module):
    """Scale each channel by a hard sigmoid of the image's channel means (squeeze and excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, channels // 4)
        self.excite = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features * self.excite(features.mean(dim=(2, 3), keepdim=True))


class CEncoder(nn.Module):
    """The C-Encoder block: three views summed, depth-wise convolutions, channel attention; then a pointwise MLP.

    Args:
        channels: of input and output.
        size_hw: height and width the axis matrices belong to.
        views: the summed ones among VIEWS.
        channel_attention: scale the channels after the depth-wise convolutions.
        expansion: the MLP's inner width as a multiple of ``channels``.
    """

    def __init__(
        self,
        channels: int,
        size_hw: tuple[int, int],
        *,
        views: Sequence[View] = VIEWS,
        channel_attention: bool = True,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.views = nn.ModuleDict()
        for view in VIEWS:  # their own order, so that the order of the option does not change the weights of a seed
            if view in views:
                self.views[view] = _view(view, channels, size_hw)
        self.details = nn.Sequential(
            *_depthwise(channels, (3, 1)),
            *_depthwise(channels, (1, 3)),
            nn.ReLU(inplace=True),
            *_depthwise(channels, (3, 1), dilation=2),
            *_depthwise(channels, (1, 3), dilation=2),
            ChannelAttention(channels) if channel_attention else nn.Identity(),
        )
        wide = channels * expansion
        self.mlp = nn.Sequential(ConvBN(channels, wide), ConvBN(wide, channels, activation=False))

    def forward(self, features: Tensor) -> Tensor:
        """Map [N, channels, H, W] to the same shape."""
        first, *others = (view(features) for view in self.views.values())
        for other in others:
            first = first + other
        features = features + self.details(F.relu(first))
        return features + self.mlp(features)


def _view(view: View, channels: int, size_hw: tuple[int, int]) -> nn.Sequential:
    if view == "transverse":
        return ConvBN(channels, channels, activation=False)
    matrix = AxisMatrix(size_hw[0], "height") if view == "frontal" else AxisMatrix(size_hw[1], "width")
    return nn.Sequential(matrix, nn.BatchNorm2d(channels))


def _depthwise(channels: int, kernel_size: tuple[int, int], dilation: int = 1) -> tuple[nn.Module, nn.Module]:
    return DepthwiseConv2d(channels, kernel_size=kernel_size, dilation=dilation), nn.BatchNorm2d(channels)


class FeedForward(nn.Sequential):
    """The Feed-Forward Network: a depth-wise convolution between two 1x1, expansion two (supplement, Figure 1).

    That the depth-wise one is 3x3 and alone has a ReLU is reconstructed.
    """

    def __init__(self, channels: int, *, expansion: int = 2) -> None:
        wide = channels * expansion
        super().__init__(
            ConvBN(channels, wide, activation=False),
            ConvBN(wide, wide, 3, groups=wide),
            ConvBN(wide, channels, activation=False),
        )


class NestedAttention(nn.Module):
    """Nested Attention: each of ``sets`` queries meets each of ``sets`` keys; the mean of all maps weighs each of the values.

    The maps are averaged after their softmax: without it they would collapse into that of the summed queries and keys.
    """

    def __init__(self, channels: int, *, sets: int = 3, heads: int = 4, head_channels: int = 16) -> None:
        super().__init__()
        self.sets = sets
        self.heads = heads
        self.head_channels = head_channels
        inner = heads * head_channels
        self.queries_keys_values = ConvBN(channels, 3 * sets * inner, activation=False)
        self.project = nn.Sequential(nn.ReLU(inplace=True), ConvBN(inner, channels, activation=False))
        self.feed_forward = FeedForward(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [N, C, h, w] to the same shape."""
        attention, values = self.attend(tokens)
        mixed = (values.flatten(2, 3) @ attention.transpose(-1, -2)).reshape(values.shape).sum(dim=2)
        tokens = tokens + self.project(mixed.reshape(mixed.shape[0], -1, *tokens.shape[-2:]))
        return tokens + self.feed_forward(tokens)

    def attend(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean map [N, heads, query token, key token] and the values [N, heads, sets, head channels, key token]."""
        count = tokens.shape[-2] * tokens.shape[-1]
        projected = self.queries_keys_values(tokens)
        projected = projected.reshape(projected.shape[0], 3, self.sets, self.heads, self.head_channels, count)
        queries, keys, values = projected.unbind(1)  # each [N, set, head, channel, token]
        # All pairs in one product: the sets lie side by side along the tokens.
        queries = queries.permute(0, 2, 1, 4, 3).flatten(2, 3)
        keys = keys.permute(0, 2, 3, 1, 4).flatten(3, 4)
        scores = queries @ keys * self.head_channels**-0.5
        maps = scores.reshape(-1, self.heads, self.sets, count, self.sets, count).softmax(dim=-1)
        return maps.mean(dim=(2, 4)), values.transpose(1, 2)


class GatedFusion(nn.Module):
    """Gated fusion of a stage's features with its share of the tokens: sigmoid(gate(global)) * local + global."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.detail = ConvBN(channels, width, activation=False)
        self.gate = nn.Sequential(ConvBN(channels, width, activation=False), nn.Sigmoid())
        self.semantics = ConvBN(channels, width, activation=False)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Map features [N, channels, H, W] and tokens [N, channels, h, w] to [N, width, H, W]."""
        size_hw = (features.shape[-2], features.shape[-1])
        gate, semantics = (resize_bilinear(part(tokens), size_hw) for part in (self.gate, self.semantics))
        return self.detail(features) * gate + semantics
