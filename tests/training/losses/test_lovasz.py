"""Lovasz-softmax against its definition: the Lovasz extension of the Jaccard loss, summed over nested sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from lwseg_training.losses.lovasz import lovasz_softmax


def jaccard_loss(truth: np.ndarray, wrong: np.ndarray) -> float:
    """1 - IoU of a class when the pixels in ``wrong`` are misjudged and all others right (equation 6 of the paper)."""
    union = (truth | wrong).sum()
    return float(wrong.sum() / union) if union else 0.0


def lovasz_extension(truth: np.ndarray, errors: np.ndarray) -> float:
    """Integrate the Jaccard loss of {pixels whose error exceeds t} over t in [0, 1]: the extension, level by level."""
    levels = np.concatenate([[0.0], np.unique(errors)])
    return sum(
        (high - low) * jaccard_loss(truth, errors > (low + high) / 2) for low, high in itertools.pairwise(levels)
    )


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(0, 2, (2, 4, 3, 3))).float()
    label = torch.from_numpy(random.choice([0, 1, 2, 255], (2, 3, 3)))
    counted = (label != 255).numpy()
    probabilities = logits.softmax(dim=1).movedim(1, -1).numpy()[counted]
    truth = label.numpy()[counted]
    expected = [
        lovasz_extension(truth == c, np.where(truth == c, 1 - probabilities[:, c], probabilities[:, c]))
        for c in np.unique(truth)
    ]
    assert float(lovasz_softmax(logits, label)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_of_hard_predictions_it_is_one_minus_the_mean_iou() -> None:
    label = torch.tensor([[[0, 0, 1, 1, 1, 0]]])
    predicted = torch.tensor([0, 1, 1, 1, 0, 0])
    logits = 200 * torch.nn.functional.one_hot(predicted, 3).float().T[None, :, None, :]
    # class 0: intersection 2, union 4; class 1: 2 of 4; class 2 is not in the label and does not count
    assert float(lovasz_softmax(logits, label)) == pytest.approx(0.5)


def test_perfect_is_zero_and_all_wrong_is_one() -> None:
    label = torch.tensor([[[0, 1, 1]]])
    right = 200 * torch.nn.functional.one_hot(label[0, 0], 2).float().T[None, :, None, :]
    assert float(lovasz_softmax(right, label)) == pytest.approx(0, abs=1e-6)
    assert float(lovasz_softmax(-right, label)) == pytest.approx(1, abs=1e-6)


def test_its_gradient_lowers_it() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    label = torch.randint(0, 3, (1, 4, 4))
    loss = lovasz_softmax(logits, label)
    loss.backward()
    with torch.no_grad():
        assert lovasz_softmax(logits - 0.5 * logits.grad, label) < loss
