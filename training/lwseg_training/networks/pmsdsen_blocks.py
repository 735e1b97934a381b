"""The modules of PMSDSEN: parallel multi-scale encoding, resampling, semantic encoding and fusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_training.networks.layers import DepthwiseConv2d, resize_bilinear

ParallelPath = Literal["local", "long_range", "attention"]
"""A parallel path of PMSDSE: LDI, MSLRI or channel attention."""


def bn_gelu(channels: int) -> nn.Sequential:
    """Normalise and activate, the paper's order of layers after a convolution and in front of a module."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.GELU())


def conv_bn_gelu(
    in_channels: int, out_channels: int, kernel_size: int = 1, *, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolve, normalise and activate; H and W become ceil(H / stride) and ceil(W / stride)."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias)
    return nn.Sequential(convolution, *bn_gelu(out_channels))


def eca_kernel_size(channels: int) -> int:
    """Return how many neighbouring channels an attention weight depends on: odd, growing with log2 of the channels."""
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1


class ECA(nn.Module):
    """Efficient channel attention: weigh each channel [N, C, H, W] by the means of its neighbouring channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = eca_kernel_size(channels)
        self.convolution = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        means = features.mean((2, 3)).unsqueeze(1)
        weights = self.convolution(means).squeeze(1).sigmoid()
        return features * weights[:, :, None, None]


class LocalDetail(nn.Module):
    """One of ``branches`` equal parts of the channels from a 1x1 convolution, the others from a depth-wise 3x3 on those."""

    def __init__(self, channels: int, branches: int = 2) -> None:
        super().__init__()
        if branches < 2 or channels % branches:
            raise ValueError(
                f"detail_branches {branches!r} are not 2 or more that share out {channels} channels evenly"
            )
        part = channels // branches
        self.pointwise = conv_bn_gelu(channels, part)
        self.depthwise = nn.Sequential(DepthwiseConv2d(part, multiplier=branches - 1), *bn_gelu(part * (branches - 1)))

    def forward(self, features: Tensor) -> Tensor:
        reduced = self.pointwise(features)
        return torch.cat([reduced, self.depthwise(reduced)], dim=1)


class LRMS(nn.Module):
    """Long-range multi-scale filter: one dilated depth-wise 3x3 a group of channels, each fed the group before as well.

    Args:
        channels: of input and output.
        dilations: of each group; their number is that of the branches (supplement, Tables 2 and 3).
    """

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        if not dilations or any(not isinstance(rate, int) or rate < 1 for rate in dilations):
            raise ValueError(f"dilations {dilations!r} are not integers from 1 up")
        if channels % len(dilations):
            raise ValueError(f"{len(dilations)} dilations {dilations!r} do not share out {channels} channels evenly")
        self.share = channels // len(dilations)
        self.spread = conv_bn_gelu(channels, channels, bias=True)
        self.branches = nn.ModuleList(
            nn.Sequential(DepthwiseConv2d(self.share, dilation=rate, bias=True), *bn_gelu(self.share))
            for rate in dilations
        )
        self.merge = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, features: Tensor) -> Tensor:
        groups = self.spread(features).split(self.share, dim=1)
        filtered = [self.branches[0](groups[0])]
        for branch, group in zip(self.branches[1:], groups[1:], strict=True):
            filtered.append(branch(group + filtered[-1]))
        return F.gelu(self.merge(torch.cat(filtered, dim=1)) + features)


class LongRange(nn.Module):
    """Half of the channels from a 1x1 convolution, the other half from LRMS on those."""

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        half = channels // 2
        self.pointwise = conv_bn_gelu(channels, half, bias=True)
        self.multi_scale = LRMS(half, dilations)

    def forward(self, features: Tensor) -> Tensor:
        halved = self.pointwise(features)
        return torch.cat([halved, self.multi_scale(halved)], dim=1)


class Residual(nn.Module):
    """Add what ``layers`` make of the features to the features."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.residual = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.residual(features)


class LDI(Residual):
    """Local detail information: two LocalDetail with channel attention in between, around the input."""

    def __init__(self, channels: int, branches: int = 2) -> None:
        super().__init__(LocalDetail(channels, branches), ECA(channels), LocalDetail(channels, branches))


class MSLRI(Residual):
    """Multi-scale long-range information: two LongRange with channel attention in between, around the input."""

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__(LongRange(channels, dilations), ECA(channels), LongRange(channels, dilations))


class PMSDSE(nn.Module):
    """Parallel multi-scale detail and semantic encoding: the sum of parallel paths, mixed and added to the input.

    The channel shuffle that the paper draws has as many groups as channels and so changes nothing; it is left out.

    Args:
        channels: of input and output.
        dilations: see LRMS.
        detail_branches: of LDI, see LocalDetail.
        paths: which of the parallel paths there are.
    """

    def __init__(
        self,
        channels: int,
        *,
        dilations: Sequence[int],
        detail_branches: int = 2,
        paths: Sequence[ParallelPath] = ("local", "long_range", "attention"),
    ) -> None:
        super().__init__()
        if not paths or len(set(paths)) != len(paths) or not set(paths) <= set(get_args(ParallelPath)):
            raise ValueError(f"paths {paths!r} are not one or more of {get_args(ParallelPath)}, each once")
        self.activate = bn_gelu(channels)
        self.paths = nn.ModuleList()
        if "local" in paths:
            self.paths.append(LDI(channels, detail_branches))
        if "long_range" in paths:
            self.paths.append(MSLRI(channels, dilations))
        if "attention" in paths:
            self.paths.append(ECA(channels))
        self.mix = nn.Sequential(
            bn_gelu(channels), nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), ECA(channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        activated = self.activate(features)
        summed = self.paths[0](activated)
        for path in self.paths[1:]:
            summed = summed + path(activated)
        return F.gelu(self.mix(summed) + features)


def pool_half(features: Tensor) -> Tensor:
    """Return the sum of 2x2 maximum and 2x2 mean at ceil(H / 2) x ceil(W / 2)."""
    # The last row or column of an odd size counts twice, as a stride-2 convolution keeps it; ceil_mode would do the same,
    # were it not for runtimes that divide by the whole window.
    height, width = features.shape[-2:]
    if height % 2 or width % 2:
        features = F.pad(features, (0, width % 2, 0, height % 2), mode="replicate")
    return F.max_pool2d(features, 2) + F.avg_pool2d(features, 2)


def halve_image(image: Tensor) -> Tensor:
    """Return the sum of 3x3 maximum and 3x3 mean at stride 2: [N, 3, ceil(H / 2), ceil(W / 2)]."""
    return F.max_pool2d(image, 3, 2, 1) + F.avg_pool2d(image, 3, 2, 1)


class Down(nn.Module):
    """Halve H and W: a 3x3 stride-2 convolution of features and image beside the pooled features.

    Args:
        in_channels, out_channels: of the features; out_channels - in_channels come from the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolved = conv_bn_gelu(in_channels + 3, out_channels - in_channels, 3, stride=2)
        self.activate = bn_gelu(out_channels)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Map features [N, in_channels, h, w] and the image at their size to [N, out_channels, ceil(h/2), ceil(w/2)]."""
        convolved = self.convolved(torch.cat([features, image], dim=1))
        return self.activate(torch.cat([convolved, pool_half(features)], dim=1))


class Up(nn.Module):
    """Double H and W by a transposed 3x3 convolution of stride 2, the inverse of Down's geometry."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.transposed = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.activate = nn.Sequential(nn.BatchNorm2d(out_channels, eps=1e-3), nn.GELU())

    def forward(self, features: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Map [N, in_channels, h, w] to [N, out_channels, H, W]; H is 2h or 2h - 1, W is 2w or 2w - 1."""
        return self.activate(self.transposed(features, output_size=list(size_hw)))


class PooledContext(nn.Module):
    """A branch of MSSE: average pooling, a 1x1 convolution, and a 3x3 one on the sum with the branch before.

    ``kernel_size`` None pools the whole map.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int | None = None, stride: int = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.reduce = conv_bn_gelu(in_channels, channels)
        self.blend = conv_bn_gelu(channels, channels, 3)

    def forward(self, features: Tensor, previous: Tensor) -> Tensor:
        if self.kernel_size is None:
            pooled = features.mean((2, 3), keepdim=True)
        else:
            pooled = F.avg_pool2d(features, self.kernel_size, self.stride, self.kernel_size // 2)
        size_hw = (previous.shape[-2], previous.shape[-1])
        return self.blend(resize_bilinear(self.reduce(pooled), size_hw) + previous)


class MSSE(nn.Module):
    """Multi-scale semantic encoding: pooled contexts of growing size, each fed the one before; keeps C, H and W.

    Args:
        channels: of input and output.
        inner_channels: of each branch.
        pool_kernels: odd kernel size and stride of each average pool (supplement, Table 4); a global pool comes last.
    """

    def __init__(self, channels: int, inner_channels: int, pool_kernels: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        for pool in pool_kernels:
            if len(pool) != 2 or any(not isinstance(n, int) or n < 1 for n in pool) or pool[0] % 2 == 0:
                raise ValueError(
                    f"pool_kernels holds {pool!r}, which is not an odd kernel size and a stride, both >= 1"
                )
        self.pointwise = conv_bn_gelu(channels, inner_channels)
        self.contexts = nn.ModuleList(PooledContext(channels, inner_channels, *pool) for pool in pool_kernels)
        self.contexts.append(PooledContext(channels, inner_channels))
        merged = inner_channels * (1 + len(self.contexts))
        self.merge = nn.Sequential(bn_gelu(merged), nn.Conv2d(merged, channels, 1, bias=False), ECA(channels))
        self.shortcut = nn.Sequential(bn_gelu(channels), nn.Conv2d(channels, channels, 1, bias=False), ECA(channels))

    def forward(self, features: Tensor) -> Tensor:
        branches = [self.pointwise(features)]
        for context in self.contexts:
            branches.append(context(features, branches[-1]))
        return self.merge(torch.cat(branches, dim=1)) + self.shortcut(features)


class DWFF(nn.Module):
    """Dynamic weighted feature fusion: a sum of two maps, weighted per image and channel; the weights add up to one.

    Args:
        channels: of both maps and of the result.
        reduction: the descriptor that both weights come from has channels / reduction values, 4 or more.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.describe = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.LeakyReLU(0.2, inplace=True)
        )
        self.weigh_shallow = nn.Conv2d(hidden, channels, 1)
        self.weigh_deep = nn.Conv2d(hidden, channels, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        descriptor = self.describe((shallow + deep).mean((2, 3), keepdim=True))
        scores = torch.stack([self.weigh_shallow(descriptor), self.weigh_deep(descriptor)])
        weights = scores.softmax(dim=0)
        return weights[0] * shallow + weights[1] * deep


class Sum(nn.Module):
    """Add two maps of one shape."""

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        return shallow + deep
