"""The loss of labels that do not tell all classes apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import LossSection
from lwseg_training.data.auxiliary import PARTIAL
from lwseg_training.losses import SegmentationLoss
from lwseg_training.losses.partial_labels import partial_label_nll, prior_shift

PROBABILITIES = torch.tensor([[0.5, 0.25, 0.125, 0.125]])


def test_it_is_the_logarithm_of_what_the_label_allows() -> None:
    logits = PROBABILITIES.log() + 3
    assert partial_label_nll(logits, torch.tensor([0]), [2, 3]).item() == pytest.approx(-math.log(0.75))
    assert partial_label_nll(logits, torch.tensor([1]), [2]).item() == pytest.approx(-math.log(0.375))
    # a class that is among the unlabelled ones is counted once
    assert partial_label_nll(logits, torch.tensor([2]), [2, 3]).item() == pytest.approx(-math.log(0.25))


def test_its_gradient_takes_nothing_from_the_unlabelled_classes() -> None:
    logits = PROBABILITIES.log().requires_grad_()
    partial_label_nll(logits, torch.tensor([0]), [2, 3]).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] > 0  # the class that is excluded goes down
    assert all(logits.grad[0, [0, 2, 3]] < 0)


@pytest.mark.parametrize("kind", ["cross_entropy", "ohem"])
def test_partial_and_whole_labels_are_each_a_mean(kind: str) -> None:
    torch.manual_seed(0)
    settings = LossSection.model_validate({"kind": kind})
    logits, label = torch.randn(3, 4, 8, 8), torch.randint(0, 4, (3, 8, 8))
    label[:, 0] = 255
    mixed = label.clone()
    mixed[2, 1:] += PARTIAL
    whole = SegmentationLoss(settings, None)(logits[:2], label[:2])
    partial = partial_label_nll(logits[2, :, 1:].flatten(1).T, label[2, 1:].flatten(), [1, 3]).mean()
    got = SegmentationLoss(settings, None, unlabelled=[1, 3], auxiliary_weight=0.5)(logits, mixed)
    assert got.item() == pytest.approx((whole + 0.5 * partial).item(), rel=1e-5)


def test_a_batch_of_whole_labels_alone_has_a_finite_gradient() -> None:
    logits = torch.randn(1, 4, 4, 4, requires_grad=True)
    loss = SegmentationLoss(LossSection(), None, unlabelled=[1])(logits, torch.zeros(1, 4, 4, dtype=torch.long))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_class_weights_move_no_probability_that_partial_labels_ask_for() -> None:
    settings = LossSection.model_validate({"class_weights": "inverse_log"})
    frequencies = np.array([0.7, 0.2, 0.1])
    loss = SegmentationLoss(settings, frequencies, unlabelled=[2])
    assert loss.weights is not None
    logits = torch.randn(1, 3, 4, 4)
    label = torch.randint(0, 3, (1, 4, 4)) + PARTIAL
    weighted = logits + loss.weights.log()[:, None, None]  # what weighted cross-entropy makes of the same probabilities
    expected = SegmentationLoss(LossSection(), None, unlabelled=[2])(logits, label)
    assert loss(weighted, label).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_prior_that_differs_is_in_the_shift_and_not_in_what_is_taught() -> None:
    """The probabilities of a pixel under one prior, shifted, are those under the other."""
    random = np.random.default_rng(0)
    own, auxiliary = np.array([0.6, 0.3, 0.1, 0.0]), np.array([0.2, 0.2, 0.6, 0.0])
    likelihood = random.random((5, 3))
    logits = torch.tensor(np.log(likelihood * own[:3]))
    expected = torch.tensor(likelihood * auxiliary[:3])
    shift = prior_shift(own, auxiliary)
    assert shift[3] == 0
    got = (logits + torch.tensor(shift[:3])).softmax(dim=1)
    assert torch.allclose(got, expected / expected.sum(dim=1, keepdim=True))


def test_shares_count_among_the_classes_that_both_sets_label() -> None:
    assert prior_shift(np.array([0.3, 0.3, 0.4]), np.array([0.5, 0.5, 0.0])).tolist() == [0, 0, 0]


def test_the_shift_is_added_to_the_logits_of_partial_labels_alone() -> None:
    torch.manual_seed(0)
    shift = np.array([0.5, -1.0, 0.0])
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    label[1] += PARTIAL
    moved = logits.clone()
    moved[1] += torch.tensor(shift, dtype=torch.float32)[:, None, None]
    got = SegmentationLoss(LossSection(), None, unlabelled=[2], auxiliary_shift=shift)(logits, label)
    assert got.item() == pytest.approx(SegmentationLoss(LossSection(), None, unlabelled=[2])(moved, label).item())
