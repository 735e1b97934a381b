"""The loss a recipe asks for, against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import LossSection
from lwseg_training.data.auxiliary import PARTIAL
from lwseg_training.losses import SegmentationLoss, class_weights
from lwseg_training.losses.lovasz import lovasz_softmax

IGNORED = 255
EVEN = np.full(3, 1 / 3)


def loss_of(frequencies: np.ndarray = EVEN, **settings: Any) -> SegmentationLoss:
    return SegmentationLoss(LossSection.model_validate(settings), frequencies)


def logits_of(probabilities: list[list[float]]) -> torch.Tensor:
    """Turn P rows of C probabilities into logits [1, C, 1, P]."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


PROBABILITIES = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6]]
LABEL = torch.tensor([[[0, 1, 2, IGNORED]]])


def test_cross_entropy_is_the_mean_over_counted_pixels() -> None:
    expected = -(math.log(0.5) + math.log(0.8) + math.log(0.2)) / 3
    assert float(loss_of()(logits_of(PROBABILITIES), LABEL)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"kind": "ohem"}, {"lovasz": 1.0}, {"class_weights": "inverse_log"}], ids=str)
def test_ignored_pixels_do_not_count_and_get_no_gradient(settings: dict[str, Any]) -> None:
    loss = loss_of(**settings)
    logits = logits_of(PROBABILITIES).requires_grad_()
    value = loss(logits, LABEL)
    value.backward()
    assert not logits.grad[..., 3].any()
    assert logits.grad[..., :3].any()
    changed = logits.detach().clone()
    changed[..., 3] = torch.tensor([9.0, -9.0, 0.0])[None, :, None]
    assert float(loss(changed, LABEL)) == float(value.detach())


@pytest.mark.parametrize("settings", [{}, {"kind": "ohem"}, {"lovasz": 1.0}], ids=str)
def test_a_batch_without_labels_is_a_finite_zero(settings: dict[str, Any]) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    value = loss_of(**settings)(logits, torch.full((1, 2, 2), IGNORED))
    value.backward()
    assert float(value.detach()) == 0
    assert torch.isfinite(logits.grad).all()


def test_class_weights_have_a_mean_of_one_over_pixels_and_raise_rare_classes() -> None:
    frequencies = np.array([0.9, 0.09, 0.01])
    weights = class_weights(LossSection(class_weights="inverse_log"), frequencies)
    assert weights is not None
    assert float((weights.double() * torch.from_numpy(frequencies)).sum()) == pytest.approx(1)
    assert weights[0] < weights[1] < weights[2]
    assert float(weights[2] / weights[0]) == pytest.approx(math.log(1.02 + 0.9) / math.log(1.02 + 0.01), rel=1e-5)
    assert class_weights(LossSection(), frequencies) is None


def test_class_weights_of_absent_classes_are_finite() -> None:
    weights = class_weights(LossSection(class_weights="inverse_log"), np.array([1.0, 0.0]))
    assert weights is not None
    assert torch.isfinite(weights).all()


def test_class_weights_weigh_pixels() -> None:
    frequencies = np.array([0.8, 0.15, 0.05])
    weights = class_weights(LossSection(class_weights="inverse_log"), frequencies).tolist()
    expected = -(weights[0] * math.log(0.5) + weights[1] * math.log(0.8) + weights[2] * math.log(0.2)) / 3
    value = loss_of(frequencies, class_weights="inverse_log")(logits_of(PROBABILITIES), LABEL)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_shares_some_of_the_target_out() -> None:
    value = float(loss_of(label_smoothing=0.3)(logits_of(PROBABILITIES[:1]), torch.tensor([[[0]]])))
    assert value == pytest.approx(-(0.8 * math.log(0.5) + 0.2 * math.log(0.25)), rel=1e-5)


def test_lovasz_is_added_by_its_weight() -> None:
    logits = logits_of(PROBABILITIES)
    plain = float(loss_of()(logits, LABEL))
    expected = plain + 0.5 * float(lovasz_softmax(logits, LABEL))
    assert float(loss_of(lovasz=0.5)(logits, LABEL)) == pytest.approx(expected, rel=1e-6)


def test_auxiliary_heads_are_weighed_and_brought_to_the_labels_size() -> None:
    torch.manual_seed(0)
    label = torch.randint(0, 3, (2, 8, 8))
    main, half, quarter = (torch.randn(2, 3, size, size) for size in (8, 4, 2))
    alone = loss_of()
    expected = float(alone(main, label) + 0.1 * alone(half, label) + 0.01 * alone(quarter, label))
    heads = loss_of(auxiliary_weights=[0.1, 0.01])
    assert float(heads([main, half, quarter], label)) == pytest.approx(expected, rel=1e-6)
    assert float(heads(main, label)) == float(alone(main, label)), "in eval mode a network has no auxiliary heads"


def test_an_auxiliary_head_without_a_weight_is_refused() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"2 auxiliary heads, but auxiliary_weights \(0.1,\)"):
        loss_of(auxiliary_weights=[0.1])([logits] * 3, torch.zeros(1, 2, 2, dtype=torch.long))


def test_parts_of_a_batch_add_up_to_its_loss() -> None:
    random = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (4, 6, 6), generator=random)
    label[0] = IGNORED  # the parts count differently many pixels
    label[2, :3] = IGNORED
    label[1:3, 4:] = PARTIAL + 1
    logits = torch.randn(4, 3, 6, 6, generator=random)
    settings = LossSection(class_weights="inverse_log", label_smoothing=0.1)
    loss = SegmentationLoss(settings, np.array([0.7, 0.2, 0.1]), unlabelled=(2,), auxiliary_weight=0.5)
    parts = [loss(logits[own], label[own], label) for own in (slice(0, 2), slice(2, 4))]
    assert float(sum(parts)) == pytest.approx(float(loss(logits, label)), rel=1e-6)
    apart = (loss(logits[:2], label[:2]) + loss(logits[2:], label[2:])) / 2
    assert float(apart) != pytest.approx(float(loss(logits, label)), rel=1e-3)


def test_what_ranks_pixels_ranks_those_of_a_part() -> None:
    random = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (2, 6, 6), generator=random)
    label[1, 2:] = IGNORED
    logits = torch.randn(2, 3, 6, 6, generator=random)
    for settings in ({"kind": "ohem", "ohem_threshold": 0.3}, {"kind": "ohem", "lovasz": 1.0}):
        loss = loss_of(**settings)
        expected = 36 / 48 * loss(logits[:1], label[:1]) + 12 / 48 * loss(logits[1:], label[1:])
        parts = loss(logits[:1], label[:1], label) + loss(logits[1:], label[1:], label)
        assert float(parts) == pytest.approx(float(expected), rel=1e-5)


def test_the_loss_of_half_precision_logits_is_computed_in_float32() -> None:
    logits = torch.randn(1, 3, 4, 4)
    label = torch.randint(0, 3, (1, 4, 4))
    value = loss_of()(logits.bfloat16(), label)
    assert value.dtype == torch.float32
    assert float(value) == float(loss_of()(logits.bfloat16().float(), label))
