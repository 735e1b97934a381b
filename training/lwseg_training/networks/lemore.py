"""LeMoRe: views along channels, rows and columns for details, Nested Attention for context (arXiv 2505.23093)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_training.networks.layers import ConvBN, resize_bilinear, upsample_logits
from lwseg_training.networks.lemore_blocks import (
    VIEWS,
    AxisMatrix,
    CEncoder,
    GatedFusion,
    NestedAttention,
    View,
    resize_axis_matrix,
)
from lwseg_training.networks.registry import ClassifyingNetwork, NetworkEntry, PublishedCount

MIN_SIZE = 32
TOKEN_STRIDE = 64


class LeMoReBackbone(nn.Module):
    """LeMoRe up to its tokens: the stem, four C-Encoder stages at 1/4 to 1/32, Nested Attention at 1/64.

    Args:
        size_hw: height and width of the images that the axis matrices belong to.
        views, channel_attention: see CEncoder.
        nested_attention: relate the pooled tokens to each other; without it they are used as they are.
        channels, blocks, expansions: of each stage.
    """

    def __init__(
        self,
        *,
        size_hw: Sequence[int] = (512, 512),
        views: Sequence[View] = VIEWS,
        channel_attention: bool = True,
        nested_attention: bool = True,
        channels: Sequence[int] = (16, 32, 64, 128),
        blocks: Sequence[int] = (1, 1, 3, 5),
        expansions: Sequence[int] = (2, 4, 4, 4),
    ) -> None:
        super().__init__()
        _check_views(views)
        for name, flag in (("channel_attention", channel_attention), ("nested_attention", nested_attention)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} is True or False, not {flag!r}")
        height, width = _checked_integers("size_hw", size_hw, count=2, minimum=MIN_SIZE)
        self.size_hw = (height, width)
        self.channels = _checked_integers("channels", channels, count=4)
        blocks = _checked_integers("blocks", blocks, count=4)
        expansions = _checked_integers("expansions", expansions, count=4)

        first = self.channels[0]
        self.stem = nn.Sequential(
            ConvBN(3, first, 3, stride=2),
            ConvBN(first, first, 3, stride=2, groups=first, activation=False),
            ConvBN(first, first),
        )
        self.stages = nn.ModuleList()
        for index, (stage_channels, stage_blocks, expansion) in enumerate(
            zip(self.channels, blocks, expansions, strict=True)
        ):
            stage_hw = (_strided(height, 4 << index), _strided(width, 4 << index))
            stage = nn.Sequential()
            if index:
                stage.append(ConvBN(self.channels[index - 1], stage_channels, 3, stride=2))
            for _ in range(stage_blocks):
                stage.append(
                    CEncoder(
                        stage_channels,
                        stage_hw,
                        views=views,
                        channel_attention=channel_attention,
                        expansion=expansion,
                    )
                )
            self.stages.append(stage)
        self.context = NestedAttention(sum(self.channels)) if nested_attention else nn.Identity()

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map an image [N, 3, H, W] to the stages' features and the tokens [N, C, ceil(H / 64), ceil(W / 64)], C of all stages."""
        features = self.stem(image)
        stages = []
        for stage in self.stages:
            features = stage(features)
            stages.append(features)
        tokens_hw = (_strided(image.shape[-2], TOKEN_STRIDE), _strided(image.shape[-1], TOKEN_STRIDE))
        tokens = torch.cat([F.adaptive_avg_pool2d(features, tokens_hw) for features in stages], dim=1)
        return stages, self.context(tokens)

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a backbone's ``weights`` with every axis matrix resized to the one in here, ready to load.

        Other entries are passed on as they are. Raises ValueError for an axis matrix that is not square.
        """
        resized = dict(weights)
        for name, module in self.named_modules():
            key = f"{name}.weight"
            if not isinstance(module, AxisMatrix) or key not in resized:
                continue
            matrix = resized[key]
            if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
                raise ValueError(f"{key} is an axis matrix and must be square, not of shape {tuple(matrix.shape)}")
            resized[key] = resize_axis_matrix(matrix.detach(), module.size)
        return resized


class LeMoRe(ClassifyingNetwork):
    """LeMoRe (ICIP 2025, arXiv 2505.23093), a reconstruction: no code was released.

    The paper fixes the block diagram: a stem, four C-Encoder stages at 1/4 to 1/32, the three summed views, the order of the
    depth-wise convolutions with channel attention last, concatenation at 1/64, three queries, keys and values whose nine maps
    become one, a feed-forward network of expansion two (supplement, Figure 1), gated fusion, and four outputs upsampled to a
    head; batch normalisation after almost every convolution but the last. Reconstructed, to meet its parameters and
    multiply-adds: the channels, the depths, the blocks' MLP and its expansions, the heads of the attention, and the fusion width.

    The axis matrices belong to ``size_hw``, the training size; at another size they are resized by linear resampling.

    Args:
        num_classes: channels of the logits.
        width: channels of the fused features and of the head.
        dropout: probability before the classifier.
        options: see LeMoReBackbone; its views and its two attentions are the paper's ablations.
    """

    last_layer = "head.2"

    def __init__(self, num_classes: int, *, width: int = 128, dropout: float = 0.1, **options: Any) -> None:
        super().__init__()
        num_classes, width = _checked_integer("num_classes", num_classes), _checked_integer("width", width)
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout is a probability, not {dropout!r}")
        self.backbone = LeMoReBackbone(**options)
        self.fusions = nn.ModuleList(GatedFusion(stage_channels, width) for stage_channels in self.backbone.channels)
        self.head = nn.Sequential(ConvBN(width, width), nn.Dropout(dropout), nn.Conv2d(width, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, num_classes, H, W]."""
        stages, tokens = self.backbone(image)
        size_hw = (stages[1].shape[-2], stages[1].shape[-1])
        stages[0] = F.adaptive_avg_pool2d(stages[0], size_hw)  # the head works at 1/8: no need of its width at 1/4
        shares = tokens.split(self.backbone.channels, dim=1)
        fused = [fusion(*pair) for fusion, *pair in zip(self.fusions, stages, shares, strict=True)]
        total = fused[0]
        for features in fused[1:]:
            total = total + resize_bilinear(features, size_hw)
        return upsample_logits(self.head(total), (image.shape[-2], image.shape[-1]))


class LeMoReClassifier(ClassifyingNetwork):
    """LeMoRe's classifier for ImageNet pretraining (supplement, Table 1): the mean of the tokens, then a linear layer.

    ``backbone`` takes the same options as LeMoRe's; its ``adapt_weights`` brings weights of another size to its own.
    """

    last_layer = "classifier"

    def __init__(self, num_classes: int = 1000, *, size_hw: Sequence[int] = (224, 224), **options: Any) -> None:
        super().__init__()
        num_classes = _checked_integer("num_classes", num_classes)
        self.backbone = LeMoReBackbone(size_hw=size_hw, **options)
        self.classifier = nn.Linear(sum(self.backbone.channels), num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits float32 [N, num_classes]."""
        _, tokens = self.backbone(image)
        with torch.autocast(image.device.type, enabled=False):  # bfloat16 cannot tell a thousand close logits apart
            return self.classifier(tokens.float().mean(dim=(2, 3)))


def _strided(length: int, stride: int) -> int:
    """Return what convolutions of a total ``stride`` leave of a length: the quotient rounded up."""
    return -(-length // stride)


def _check_views(views: Sequence[str]) -> None:
    if isinstance(views, str) or not isinstance(views, Sequence):
        raise TypeError(f"views is a sequence of some of {VIEWS}, not {views!r}")
    if not views or len(set(views)) < len(views) or not set(views) <= set(VIEWS):
        raise ValueError(f"views takes one or more of {VIEWS}, each once, not {views!r}")


def _checked_integers(name: str, values: Sequence[int], *, count: int, minimum: int = 1) -> list[int]:
    """Return ``values`` as a list. Raises TypeError or ValueError unless they are ``count`` integers from ``minimum`` up."""
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != count:
        raise TypeError(f"{name} takes {count} integers, not {values!r}")
    for value in values:
        _checked_integer(name, value, minimum=minimum)
    return list(values)


def _checked_integer(name: str, value: int, *, minimum: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes integers, not {value!r}")
    if value < minimum:
        raise ValueError(f"{name} takes integers of {minimum} or more, not {value!r}")
    return value


NETWORKS = {
    "lemore": NetworkEntry(
        LeMoRe,
        "LeMoRe, ICIP 2025, arXiv 2505.23093 (reconstructed)",
        PublishedCount(1.60, 0.81, (512, 512), 150, parameters_within=0.03, multiply_adds_within=0.08),
        sized=True,
        classifier=LeMoReClassifier,
    )
}
