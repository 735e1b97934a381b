"""How good a network is on a split, in PyTorch, while it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import nn

from lwseg_ros.evaluation.evaluator import Evaluator, Prediction, evaluate
from lwseg_ros.imaging.resizing import resize_image, resize_label
from lwseg_training.config.recipe import InferenceSection
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages
from lwseg_training.networks.label_blocks import LabelBlocks
from lwseg_training.networks.layers import upsample_logits
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.sliding_windows import SlidingWindows


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in bfloat16 or float16 where it is safe to, if ``precision`` is bf16 or fp16."""
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, half, enabled=precision != "fp32")


@torch.no_grad()
def evaluate_network(
    network: nn.Module,
    normalize: Normalize,
    images: LabelledImages,
    device: torch.device,
    precision: str,
    inference: InferenceSection | None = None,
) -> Evaluator:
    """Predict every image of a split and count at the image's size, as the vehicle does; leaves the network in eval mode.

    Args:
        inference: the size to predict at, of windows, and of blocks with one label, and whether logits are upsampled; by default
            each image's own, none, one pixel, and labels are.
    """
    network = as_inferred(network.eval(), inference)

    def predict(image: np.ndarray) -> Prediction:
        resized = at_inference_size(image, inference)
        with autocast(device, precision):
            logits = network(normalize(torch.from_numpy(resized)[None].to(device)))
        if inference is not None and inference.upsample_logits:
            logits = upsample_logits(logits, (image.shape[0], image.shape[1]))
        return Prediction(resize_label(logits[0].argmax(dim=0).byte().cpu().numpy(), image.shape[:2]))

    return evaluate(Evaluator(images.split.classes, IGNORE), images, predict)


def as_inferred(network: nn.Module, inference: InferenceSection | None) -> nn.Module:
    """Return the network as it is used: on windows of the image, or with labels of blocks, where the recipe says so, else itself.

    Raises RecipeError for labels of blocks by a network that has none.
    """
    if inference is not None and inference.label_step > 1:
        return LabelBlocks(network, inference.label_step)
    if inference is not None and inference.window_hw is not None:
        return SlidingWindows(network, inference.window_hw, inference.window_overlap)
    return network


def at_inference_size(image: np.ndarray, inference: InferenceSection | None) -> np.ndarray:
    """Bring an image uint8 [H, W, 3] to the size it is evaluated at, as `lwseg_ros.segmenter` does."""
    return resize_image(image, inference_size(image.shape[:2], inference))


def inference_size(image_hw: tuple[int, ...], inference: InferenceSection | None) -> tuple[int, int]:
    """Return the height and width at which an image of ``image_hw`` is evaluated."""
    height, width = image_hw
    if inference is not None and inference.size_hw is not None:
        return inference.size_hw
    scale = 1.0
    if inference is not None and inference.short_side is not None:
        scale = inference.short_side / min(height, width)
    if inference is not None and inference.long_side is not None:
        scale = inference.long_side / max(height, width)
    return round(height * scale), round(width * scale)
