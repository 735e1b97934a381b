"""Lovasz-softmax (Berman, Triki, Blaschko, CVPR 2018): the convex surrogate of 1 - mean IoU over the classes present."""

from __future__ import annotations

import torch
from torch import Tensor

from lwseg_training.data.augmentation import IGNORE


def lovasz_softmax(logits: Tensor, label: Tensor) -> Tensor:
    """Return the loss over all pixels of the batch; among several processes, of this process's share of it.

    Args:
        logits: float [N, C, H, W].
        label: int64 [N, H, W], 255 where ignored.
    """
    counted = label != IGNORE
    probabilities = logits.softmax(dim=1).movedim(1, -1)[counted]
    truth = label[counted]
    losses = [
        _of_class((truth == class_id).float(), probabilities[:, class_id]) for class_id in truth.unique().tolist()
    ]
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _of_class(truth: Tensor, probability: Tensor) -> Tensor:
    """Weigh the errors of one class, largest first, by the growth of the Jaccard loss (Algorithm 1)."""
    errors, order = (truth - probability).abs().sort(descending=True)
    truth = truth[order]
    intersection = truth.sum() - truth.cumsum(0)
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - intersection / union
    growth = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return errors @ growth
