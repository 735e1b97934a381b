"""How good a network is on a split, in PyTorch, while it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

from lwseg_ros.metrics import ConfusionMatrix
from training.augmentation import IGNORE
from training.normalization import Normalize
from training.samples import LabelledImages


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in bfloat16 where it is safe to, if ``precision`` is bf16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def evaluate_network(
    network: nn.Module,
    normalize: Normalize,
    images: LabelledImages,
    num_classes: int,
    device: torch.device,
    precision: str,
) -> ConfusionMatrix:
    """Predict every image of a split at its own size and count; leaves the network in eval mode."""
    network.eval()
    confusion = ConfusionMatrix(num_classes, IGNORE)
    for index in range(len(images)):
        image, label = images[index]
        with autocast(device, precision):
            logits = network(normalize(torch.from_numpy(image)[None].to(device)))
        confusion.update(label, logits[0].argmax(dim=0).cpu().numpy())
    return confusion
