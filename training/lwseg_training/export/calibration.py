"""Temperature scaling (Guo et al., ICML 2017): one number that makes confidences match how often they are right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages
from lwseg_training.export.inference_graph import InferenceGraph

PIXELS_PER_IMAGE = 8192
MAX_TEMPERATURE = 100.0  # and 1/100 the least: a network that is always wrong, or always right, has no finite optimum


@dataclass(frozen=True)
class Calibration:
    """The fitted temperature and the negative log-likelihood, nats a pixel, before and after."""

    temperature: float
    nll_before: float
    nll_after: float


def fit_temperature(logits: Tensor, label: Tensor) -> Calibration:
    """Find the T between 0.01 and 100 that minimises the NLL of softmax(logits / T).

    Args:
        logits: float32 [P, C].
        label: int64 [P].
    """
    logits, label = logits.double(), label.long()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")
    limit = math.log(MAX_TEMPERATURE)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits / log_temperature.clamp(-limit, limit).exp(), label)
        loss.backward()
        return loss

    before = float(nn.functional.cross_entropy(logits, label))
    optimizer.step(closure)
    temperature = float(log_temperature.detach().clamp(-limit, limit).exp())
    after = float(nn.functional.cross_entropy(logits / temperature, label))
    return Calibration(temperature, before, after)


@torch.no_grad()
def sample_logits(graph: InferenceGraph, images: LabelledImages, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Collect the logits [P, C] that the uncertainty is made of, and the true labels [P], of pixels drawn evenly from every image
    of a split, ignored ones left out."""
    random = np.random.default_rng(seed)
    all_logits, all_labels = [], []
    for index in range(len(images)):
        image, label = images[index]
        counted = np.flatnonzero(label.ravel() != IGNORE)
        chosen = torch.from_numpy(random.choice(counted, min(PIXELS_PER_IMAGE, counted.size), replace=False))
        logits = graph.uncertainty_logits(torch.from_numpy(image)[None])[0].flatten(1)
        all_logits.append(logits[:, chosen].T.contiguous())
        all_labels.append(torch.from_numpy(label.ravel())[chosen].long())
    return torch.cat(all_logits), torch.cat(all_labels)
