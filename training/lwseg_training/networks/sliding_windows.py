"""Any network on overlapping windows of the image, for networks whose weights belong to one size, as LeMoRe's do."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_training.config.recipe import DEFAULT_OVERLAP


def window_starts(length: int, window: int, overlap: float = DEFAULT_OVERLAP) -> list[int]:
    """Return where along an axis of ``length`` pixels windows begin: the fewest that share ``overlap`` or more, evenly spread.

    The first begins at the first pixel and the last ends at the last one. A window that is longer than the axis is the axis.
    """
    spare = length - window
    if spare <= 0:
        return [0]
    steps = math.ceil(spare / max(1, math.floor(window * (1 - overlap))))
    return [round(step * spare / steps) for step in range(steps + 1)]


class SlidingWindows(nn.Module):
    """Run a network on overlapping windows of an image and average the logits where windows overlap. For inference only.

    Every window has the size that the network was trained at, so it sees what it saw then; what it sees of the surroundings ends at
    the window's edge, and each pixel is computed as often as windows cover it.

    Args:
        network: float32 [N, 3, h, w] to logits [N, C, h, w].
        window_hw: height and width of a window; an axis of the image that is shorter is taken whole.
        overlap: the least share of a window that it has in common with the next, from 0 up and below 1.
    """

    def __init__(self, network: nn.Module, window_hw: tuple[int, int], overlap: float = DEFAULT_OVERLAP) -> None:
        super().__init__()
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap {overlap} is not from 0 up and below 1")
        self.network = network
        self.window_hw = window_hw
        self.overlap = overlap

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, C, H, W]; all windows are one batch."""
        batch, size_hw = image.shape[0], (int(image.shape[-2]), int(image.shape[-1]))
        corners = self.corners(size_hw)
        height, width = self.window_size(size_hw)
        if len(corners) == 1:
            return self.network(image)
        windows = [image[..., top : top + height, left : left + width] for top, left in corners]
        logits = self.network(torch.cat(windows))
        total = logits.new_zeros(batch, logits.shape[1], *size_hw)
        cover = logits.new_zeros(size_hw)
        for index, (top, left) in enumerate(corners):
            around = (left, size_hw[1] - left - width, top, size_hw[0] - top - height)
            total = total + F.pad(logits[index * batch : (index + 1) * batch], around)
            cover = cover + F.pad(logits.new_ones(height, width), around)
        return total / cover

    def corners(self, size_hw: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the top and left of each window of an image of H x W."""
        tops, lefts = (window_starts(*pair, self.overlap) for pair in zip(size_hw, self.window_hw, strict=True))
        return [(top, left) for top in tops for left in lefts]

    def window_size(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of a window of an image of H x W."""
        return min(size_hw[0], self.window_hw[0]), min(size_hw[1], self.window_hw[1])
