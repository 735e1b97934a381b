"""From camera bytes to what a network takes."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from lwseg_training.config.recipe import Normalization

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Turn uint8 BGR [N, H, W, 3] into normalised float32 RGB [N, 3, H, W].

    Args:
        kind: ``fixed`` or ``per_image``.
        exposure: in [0, 1], of ``fixed``. Each channel of each image is first multiplied by
            (the constant mean / its own mean) ** exposure: 0 leaves the image as it is, 1 gives all images one mean, whatever the
            light and the camera's exposure and white balance.
    """

    def __init__(self, kind: Normalization = "fixed", exposure: float = 0.0) -> None:
        super().__init__()
        if kind not in get_args(Normalization):
            raise ValueError(f"normalization {kind!r} is none of {get_args(Normalization)}")
        if not 0 <= exposure <= 1:
            raise ValueError(f"exposure {exposure} is not in 0..1")
        self.kind = kind
        self.exposure = exposure
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(MEAN_RGB).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD_RGB).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        # The cast comes first: TensorRT's parser takes uint8 only into a cast.
        rgb = image.float().permute(0, 3, 1, 2).flip(1)
        if self.kind == "per_image":
            mean = rgb.mean(dim=(2, 3), keepdim=True)
            deviation = (rgb - mean).square().mean(dim=(2, 3), keepdim=True).sqrt()
            return (rgb - mean) / (deviation + 1)
        if self.exposure > 0:
            own_mean = rgb.mean(dim=(2, 3), keepdim=True) + 1  # a level more: a black image stays black
            rgb = rgb * (self.mean / own_mean) ** self.exposure
        return (rgb - self.mean) / self.std
