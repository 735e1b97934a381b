"""What training minimises. Logits float [N, C, h, w] and labels int64 [N, H, W], 255 where ignored, give a scalar.

Labels from PARTIAL on are those of an auxiliary set that tells fewer classes apart (data/auxiliary.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lwseg_training.config.recipe import LossSection
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.auxiliary import PARTIAL
from lwseg_training.distributed import sum_over_processes
from lwseg_training.losses.lovasz import lovasz_softmax
from lwseg_training.losses.ohem import hard_example_mean
from lwseg_training.losses.partial_labels import partial_label_nll
from lwseg_training.networks.layers import resize_bilinear


class SegmentationLoss(nn.Module):
    """The loss a recipe asks for: of the prediction, plus the weighted losses of auxiliary heads.

    Among several processes each calls it with its share of the batch. The mean of what they get, and of the gradients, as
    `DistributedDataParallel` takes it, is then that of the whole batch, but for Lovasz-softmax, which counts each share.

    Args:
        settings: the recipe's section.
        frequencies: float64 [C], each class's share of the labelled pixels; only class weights need them.
        world_size: how many processes share a batch.
        unlabelled: ids of the classes that an auxiliary set does not label; empty where there is no such set.
        auxiliary_weight: of the mean over pixels of partial labels, beside that over the others.
        auxiliary_shift: float [C], added to the logits of partial labels (`prior_shift`); None adds nothing.
    """

    def __init__(
        self,
        settings: LossSection,
        frequencies: np.ndarray | None,
        world_size: int = 1,
        *,
        unlabelled: Sequence[int] = (),
        auxiliary_weight: float = 1.0,
        auxiliary_shift: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.unlabelled = tuple(unlabelled)
        self.auxiliary_weight = auxiliary_weight
        self.settings = settings
        self.world_size = world_size
        self.weights: Tensor | None
        self.register_buffer("weights", class_weights(settings, frequencies))
        self.shift: Tensor
        shift = torch.zeros(()) if auxiliary_shift is None else torch.tensor(auxiliary_shift, dtype=torch.float32)
        self.register_buffer("shift", shift)

    def forward(self, outputs: Tensor | Sequence[Tensor], label: Tensor, batch_label: Tensor | None = None) -> Tensor:
        """Return the scalar loss; ``outputs`` is the logits, or the logits followed by auxiliary logits of any size.

        ``batch_label``: labels of the whole batch, where this is only a part of it. The part's share of the batch's loss is
        returned: means are over the batch's pixels. OHEM and Lovasz-softmax, which rank pixels, rank those of the part.
        """
        batch_label = label if batch_label is None else batch_label
        heads = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        factors = [1.0, *self.settings.auxiliary_weights]
        if len(heads) > len(factors):
            raise ValueError(
                f"{len(heads) - 1} auxiliary heads, but auxiliary_weights {self.settings.auxiliary_weights}"
            )
        losses = [
            factor * self._of_head(head, label, batch_label) for head, factor in zip(heads, factors, strict=False)
        ]
        return torch.stack(losses).sum()

    def _of_head(self, logits: Tensor, label: Tensor, batch_label: Tensor) -> Tensor:
        logits = resize_bilinear(logits, (label.shape[-2], label.shape[-1])).float()
        if not self.unlabelled:
            return self._of_labels(logits, label, batch_label)
        partial, batch_partial = label >= PARTIAL, batch_label >= PARTIAL
        loss = self._of_labels(
            logits, label.masked_fill(partial, IGNORE), batch_label.masked_fill(batch_partial, IGNORE)
        )
        # Of the probabilities without the weights' preference, which sums of classes cannot be weighed by (logit_adjustment.py).
        unweighted = logits.movedim(1, -1)[partial] - (0 if self.weights is None else self.weights.log())
        nll = partial_label_nll(unweighted + self.shift, label[partial] - PARTIAL, self.unlabelled)
        counted = sum_over_processes(batch_partial.sum(), self.world_size)
        return loss + self.auxiliary_weight * self.world_size * nll.sum() / counted.clamp(min=1)

    def _of_labels(self, logits: Tensor, label: Tensor, batch_label: Tensor) -> Tensor:
        settings = self.settings
        loss: Tensor
        counts = torch.stack([(label != IGNORE).sum(), (batch_label != IGNORE).sum()])
        own, counted = sum_over_processes(counts, self.world_size).clamp(min=1)
        share = own / counted  # of the batch's labelled pixels; 1 where this is all of it
        per_pixel = nn.functional.cross_entropy(
            logits, label, self.weights, ignore_index=IGNORE, label_smoothing=settings.label_smoothing, reduction="none"
        )
        if settings.kind == "ohem":
            with torch.no_grad():
                probability = (-nn.functional.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")).exp()
            loss = share * hard_example_mean(
                per_pixel,
                probability,
                label != IGNORE,
                settings.ohem_threshold,
                settings.ohem_min_kept,
                self.world_size,
            )
        else:
            loss = self.world_size * per_pixel.sum() / counted
        if settings.lovasz > 0:
            loss = loss + share * settings.lovasz * lovasz_softmax(logits, label)
        return loss


def class_weights(settings: LossSection, frequencies: np.ndarray | None) -> Tensor | None:
    """Weigh rare classes up: 1 / ln(offset + frequency), scaled so that the mean over the labelled pixels is 1; float32 [C]."""
    if settings.class_weights == "none":
        return None
    if frequencies is None:
        raise ValueError(f"class weights {settings.class_weights!r} need the classes' frequencies")
    weights = 1 / np.log(settings.weight_offset + frequencies)
    return torch.tensor(weights / (weights * frequencies).sum(), dtype=torch.float32)
