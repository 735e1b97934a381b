"""Temperature scaling (Guo et al., ICML 2017): one number that makes confidences match how often they are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.export.prediction import progress

PIXELS_PER_IMAGE = 8192
MAX_LOGITS = 1 << 28
"""How many logits are kept of a split, 1 GiB: of larger ones, fewer pixels of every image."""
MAX_TEMPERATURE = 100.0  # and 1/100 the least: a network that is always wrong, or always right, has no finite optimum
CHUNK_LOGITS = 1 << 24  # of the float64 copies while fitting


@dataclass(frozen=True)
class LogitSample:
    """Pixels of a split: their logits float32 [P, C] and true labels int64 [P]."""

    logits: Tensor
    label: Tensor


@dataclass(frozen=True)
class Calibration:
    """The fitted temperature and the negative log-likelihood, nats a pixel, before and after."""

    temperature: float
    nll_before: float
    nll_after: float


def fit_temperature(samples: Sequence[LogitSample]) -> Calibration:
    """Find the T between 0.01 and 100 that minimises the NLL of softmax(logits / T), the mean over the samples of each one's mean
    over its pixels.
    """
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")
    limit = math.log(MAX_TEMPERATURE)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for sample in samples:
            rows = max(1, CHUNK_LOGITS // sample.logits.shape[1])
            for logits, label in zip(sample.logits.split(rows), sample.label.split(rows), strict=True):
                temperature = log_temperature.clamp(-limit, limit).exp()
                nll = nn.functional.cross_entropy(logits.double() / temperature, label, reduction="sum")
                part = nll / (len(sample.label) * len(samples))
                part.backward()  # chunk by chunk, so that only one is kept in float64
                total += part.detach()
        return total

    before = float(closure())
    optimizer.step(closure)
    with torch.no_grad():
        log_temperature.clamp_(-limit, limit)
    return Calibration(float(log_temperature.detach().exp()), before, float(closure()))


def pixels_per_image(images: int, num_classes: int) -> int:
    """Return how many pixels are sampled of each image of a split, so that no more than MAX_LOGITS logits are kept."""
    return max(1, min(PIXELS_PER_IMAGE, MAX_LOGITS // (images * num_classes)))


@torch.no_grad()
def sample_logits(
    graph: InferenceGraph, images: LabelledImages, device: torch.device, pixels: int | None = None, seed: int = 0
) -> LogitSample:
    """Sample the logits that the uncertainty is made of, and the true labels, of pixels drawn evenly from every image of a split,
    ignored ones left out. Shows progress on stderr.

    Args:
        graph: on the device.
        images: of the split.
        device: where the graph is.
        pixels: of an image; by default as ``pixels_per_image`` bounds them.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    pixels = pixels or pixels_per_image(len(images), len(images.split.classes))
    all_logits, all_labels = [], []
    for image, label in progress(images, "calibrating"):
        counted = np.flatnonzero(label.ravel() != IGNORE)
        chosen = torch.from_numpy(random.choice(counted, min(pixels, counted.size), replace=False))
        logits = graph.uncertainty_logits(torch.from_numpy(image)[None].to(device))[0].flatten(1)
        all_logits.append(logits[:, chosen.to(device)].T.contiguous().cpu())
        all_labels.append(torch.from_numpy(label.ravel())[chosen].long())
    return LogitSample(torch.cat(all_logits), torch.cat(all_labels))
