"""PMSDSEN: parallel multi-scale detail and semantic encoding (Liu et al., ACM MM 2023, and its supplement)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from lwseg_training.networks.layers import upsample_logits
from lwseg_training.networks.pmsdsen_blocks import (
    DWFF,
    MSSE,
    PMSDSE,
    Down,
    ParallelPath,
    Sum,
    Up,
    conv_bn_gelu,
    halve_image,
)
from lwseg_training.networks.registry import ClassifyingNetwork, NetworkEntry, PublishedCount

Fusion = Literal["dynamic", "sum"]
"""How the decoder joins encoder and decoder features: the paper's DWFF, or plain addition."""


class Head(nn.Sequential):
    """Map features [N, C, h, w] to logits [N, num_classes, h, w]; the last layer normalises each class's logits."""

    def __init__(self, channels: int, num_classes: int) -> None:
        half = channels // 2
        super().__init__(
            conv_bn_gelu(channels, half, bias=True), nn.Conv2d(half, num_classes, 1), nn.BatchNorm2d(num_classes)
        )


class PMSDSEN(ClassifyingNetwork):
    """PMSDSEN, an encoder to 1/8 and a decoder back to 1/2 of the image's size; the published one by default.

    Training with one image a batch is refused by the batch normalisation of the globally pooled features.

    Args:
        num_classes: channels of the logits.
        dilations: of the branches in LRMS, as many as there are branches (supplement, Tables 2 and 3). The authors'
            released implementation has (1, 2, 3, 4).
        detail_branches: parts of equal channels in LDI: one of a 1x1 convolution, the others of a depth-wise 3x3 on that (the
            released implementation's ``ratio``, 2). Table 2 has 2, 4 (theirs) and 8 "branch counts in LDI/MSLRI", and leaves open
            what is counted in LDI.
        pool_kernels: kernel size and stride of the average pools in MSSE, besides the global one (Table 4).
        paths: the parallel paths of every PMSDSE.
        encoder_blocks: PMSDSE modules at 1/2, 1/4 and 1/8 on the way down.
        decoder_blocks: PMSDSE modules at 1/4 and 1/2 on the way up.
        semantic_encoding: whether MSSE follows the encoder.
        fusion: how the decoder takes in the encoder's features (Section D, "Differences to channel attention").
        auxiliary_heads: whether there are heads at 1/4 and 1/8 to train with.
    """

    last_layer = "head.2"  # batch normalisation, whose shift is the bias

    def __init__(
        self,
        num_classes: int,
        *,
        dilations: Sequence[int] = (1, 2, 3, 6),
        detail_branches: int = 2,
        pool_kernels: Sequence[tuple[int, int]] = ((5, 2), (9, 4), (17, 8)),
        paths: Sequence[ParallelPath] = ("local", "long_range", "attention"),
        encoder_blocks: Sequence[int] = (1, 2, 6),
        decoder_blocks: Sequence[int] = (2, 1),
        semantic_encoding: bool = True,
        fusion: Fusion = "dynamic",
        auxiliary_heads: bool = True,
    ) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise ValueError(f"fusion {fusion!r} is none of {get_args(Fusion)}")
        if len(encoder_blocks) != 3:
            raise ValueError(f"encoder_blocks {encoder_blocks!r} are not the three counts at 1/2, 1/4 and 1/8")
        if len(decoder_blocks) != 2:
            raise ValueError(f"decoder_blocks {decoder_blocks!r} are not the two counts at 1/4 and 1/2")
        for count in (*encoder_blocks, *decoder_blocks):
            if not isinstance(count, int) or count < 1:
                raise ValueError(f"a layer of {count!r} blocks: it takes 1 or more")

        def layer(channels: int, count: int) -> nn.Sequential:
            blocks = (
                PMSDSE(channels, dilations=dilations, detail_branches=detail_branches, paths=paths)
                for _ in range(count)
            )
            return nn.Sequential(*blocks)

        self.stem = nn.Sequential(
            conv_bn_gelu(3, 16, 3, stride=2, bias=True), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        )
        self.layer1 = layer(32, encoder_blocks[0])
        self.down2 = Down(32, 64)
        self.layer2 = layer(64, encoder_blocks[1])
        self.down3 = Down(64, 128)
        self.layer3 = layer(128, encoder_blocks[2])
        self.semantic: nn.Module = MSSE(128, 64, pool_kernels) if semantic_encoding else nn.Identity()
        self.up4 = Up(128, 64)
        self.fuse4 = DWFF(64, 8) if fusion == "dynamic" else Sum()
        self.layer4 = layer(64, decoder_blocks[0])
        self.up5 = Up(64, 32)
        self.fuse5 = DWFF(32, 4) if fusion == "dynamic" else Sum()
        self.layer5 = layer(32, decoder_blocks[1])
        self.head = Head(32, num_classes)
        self.auxiliary = nn.ModuleList([Head(64, num_classes), Head(128, num_classes)] if auxiliary_heads else [])

    @property
    def heads(self) -> list[nn.Module]:
        """Return the heads, of the prediction and the auxiliary ones."""
        return [self.head, *self.auxiliary]

    @property
    def classifiers(self) -> list[nn.Module]:
        """Return the layers whose outputs are classes, of the prediction and of the auxiliary heads."""
        return [layer for head in self.heads for layer in head.children() if isinstance(layer, nn.Conv2d)]

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, num_classes, H, W].

        In training mode with auxiliary heads: those logits, then [N, num_classes, H/4, W/4] and [..., H/8, W/8].
        """
        half_image = halve_image(image)
        half = self.layer1(self.stem(image))
        quarter = self.layer2(self.down2(half, half_image))
        eighth = self.semantic(self.layer3(self.down3(quarter, halve_image(half_image))))

        up_quarter = self.up4(eighth, (quarter.shape[-2], quarter.shape[-1]))
        up_quarter = self.layer4(self.fuse4(quarter, up_quarter))
        up_half = self.up5(up_quarter, (half.shape[-2], half.shape[-1]))
        up_half = self.layer5(self.fuse5(half, up_half))

        logits = upsample_logits(self.head(up_half), (image.shape[-2], image.shape[-1]))
        if not self.training or not self.auxiliary:
            return logits
        return [logits, *(head(x).float() for head, x in zip(self.auxiliary, (up_quarter, eighth), strict=True))]


NETWORKS = {
    "pmsdsen": NetworkEntry(
        PMSDSEN,
        "Parallel Multi-Scale Detail and Semantic Encoding Network, ACM Multimedia 2023, with its supplement",
        # The paper's 10.2 G come from the authors' own counter; fvcore gives 11.87 G for the same structure.
        PublishedCount(0.922373, 11.87, parameters_within=0, multiply_adds_within=0.03),
    )
}
