"""How good a network is on a split, in PyTorch, while it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager

import cv2
import numpy as np
import torch
from torch import nn

from lwseg_ros.metrics import ConfusionMatrix
from lwseg_ros.segmenter import resize_interpolation
from training.augmentation import IGNORE
from training.normalization import Normalize
from training.recipe import InferenceSection
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
    inference: InferenceSection | None = None,
) -> ConfusionMatrix:
    """Predict every image of a split and count at the photo's size, as the vehicle does; leaves the network in eval mode.

    Args:
        inference: the size to predict at; each image's own by default.
    """
    network.eval()
    confusion = ConfusionMatrix(num_classes, IGNORE)
    for index in range(len(images)):
        image, label = images[index]
        height, width = inference_size(label.shape, inference)
        if (height, width) != label.shape:
            image = cv2.resize(image, (width, height), interpolation=resize_interpolation(image, height, width))
        with autocast(device, precision):
            logits = network(normalize(torch.from_numpy(image)[None].to(device)))
        predicted = logits[0].argmax(dim=0).cpu().numpy()
        if predicted.shape != label.shape:
            predicted = cv2.resize(predicted.astype(np.uint8), label.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        confusion.update(label, predicted)
    return confusion


def inference_size(photo_hw: tuple[int, ...], inference: InferenceSection | None) -> tuple[int, int]:
    """Return the height and width at which a photo of ``photo_hw`` is judged."""
    height, width = photo_hw
    if inference is not None and inference.size_hw is not None:
        return inference.size_hw
    if inference is not None and inference.short_side is not None:
        scale = inference.short_side / min(height, width)
        return round(height * scale), round(width * scale)
    return height, width
