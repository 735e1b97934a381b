"""The loss of labels that do not tell all classes apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def partial_label_nll(logits: Tensor, label: Tensor, unlabelled: Sequence[int]) -> Tensor:
    """Return -ln(p(label) + p(any of the unlabelled classes)) of each pixel.

    A pole that carries the label of the house behind it may be called a pole: that its classes are absent is not taught.

    Args:
        logits: float32 [P, C].
        label: int64 [P], class ids.
        unlabelled: ids of the classes whose pixels carry others' labels; may hold a pixel's own.

    Returns float32 [P].
    """
    log_probability = logits.log_softmax(dim=1)
    own = log_probability.gather(1, label[:, None])
    others = log_probability[:, list(unlabelled)]
    itself = torch.tensor(unlabelled, device=label.device) == label[:, None]
    return -torch.cat([own, others.masked_fill(itself, -torch.inf)], dim=1).logsumexp(dim=1)


def prior_shift(own: np.ndarray, auxiliary: np.ndarray) -> np.ndarray:
    """Return ln(auxiliary / own) of the classes that both sets label, 0 of the others; float64 [C].

    Added to the logits of a set whose photos show more houses, say, it lets them be called so without the network's own belief
    in houses having to grow: the difference of the priors is in the shift (Saerens et al., Neural Computation 2002).

    Args:
        own, auxiliary: float64 [C], each class's share of the labelled pixels, 0 where a set does not label it. Shares count among
            the classes that both label.
    """
    both = (own > 0) & (auxiliary > 0)
    shift = np.zeros(len(own))
    shift[both] = np.log(auxiliary[both] / auxiliary[both].sum()) - np.log(own[both] / own[both].sum())
    return shift
