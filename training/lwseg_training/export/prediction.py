"""What a graph gives for the images of a split, in PyTorch, and how good that is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_training.data.labelled_images import LabelledImages

FIGURES = ("miou", "pixel_accuracy", "ece", "auroc")


def progress(images: LabelledImages, doing: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield image and label of a split's pairs behind a progress bar on stderr."""
    name = f"{doing} on {images.split.split}"
    yield from tqdm(images, desc=name, total=len(images), unit="image", file=sys.stderr, mininterval=0.5)


@torch.no_grad()
def predict(graph: nn.Module, image: np.ndarray, device: torch.device) -> Prediction:
    """Run an InferenceGraph or its like, which is on the device, on an image uint8 BGR [H, W, 3].

    In float32 proper on GPUs too, whose convolutions round to the 11 bits of TF32 otherwise.
    """
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        outputs = graph(torch.from_numpy(image)[None].to(device))
    return Prediction(*(output[0].cpu().numpy() for output in outputs))


def rounded_figures(evaluator: Evaluator) -> dict[str, float]:
    """Return the figures that a manifest holds, those of FIGURES that could be measured, to five digits."""
    metrics = evaluator.metrics()
    metrics.update(metrics.pop("uncertainty"))
    return {name: round(metrics[name], 5) for name in FIGURES if metrics[name] is not None}
