"""ResNet-50 as a backbone: features at 1/4 and at the output stride (He et al., CVPR 2016; dilation: arXiv 1706.05587)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 4
# By output stride, of the last two stages: stride, dilation, and the first block's dilation, which is that of the stage before.
STAGES = {8: ((1, 2, 1), (1, 4, 2)), 16: ((2, 1, 1), (1, 2, 1)), 32: ((2, 1, 1), (2, 1, 1))}


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions added to the input, [N, C, h, w] to [N, 4 * channels, h / stride, w / stride].

    The 3x3 convolution takes the stride and the dilation; without the first of a stage, the input is added as it is.
    """

    def __init__(
        self, in_channels: int, channels: int, *, stride: int = 1, dilation: int = 1, project: bool = False
    ) -> None:
        super().__init__()
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(features)))
        residual = F.relu(self.bn2(self.conv2(residual)))
        return F.relu(self.bn3(self.conv3(residual)) + self.downsample(features))


class ResNet50(nn.Module):
    """ResNet-50 without its classifier.

    Names and shapes of the weights are torchvision's, so that its published ImageNet weights, less ``fc``, load as they are.

    Args:
        output_stride: 32 as for classification; 16 or 8 replace the stride of the last one or two stages by dilation.
    """

    def __init__(self, *, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in STAGES:
            raise ValueError(f"output_stride {output_stride!r} is none of {tuple(STAGES)}")
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, 3, stride=1)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, *STAGES[output_stride][0])
        self.layer4 = _stage(1024, 512, 3, *STAGES[output_stride][1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map an image [N, 3, H, W] to [N, 256, H / 4, W / 4] and [N, 2048, H / output_stride, ...], sizes rounded up."""
        quarter = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(image)))))
        return quarter, self.layer4(self.layer3(self.layer2(quarter)))


def _stage(
    in_channels: int, channels: int, blocks: int, stride: int, dilation: int = 1, first_dilation: int = 1
) -> nn.Sequential:
    """Chain bottlenecks; the first keeps the dilation of the stage before, whose features it still reads."""
    first = Bottleneck(in_channels, channels, stride=stride, dilation=first_dilation, project=True)
    rest = (Bottleneck(channels * EXPANSION, channels, dilation=dilation) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
