"""The loss of labels that do not tell all classes apart."""

from __future__ import annotations

from collections.abc import Sequence

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
