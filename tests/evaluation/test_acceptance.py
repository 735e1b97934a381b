"""Claimed against met, on counts that can be checked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.tiny_model import ACCEPTANCE, CLASSES, painted_image, tiny_manifest

from lwseg_ros.evaluation.acceptance import acceptance_figures, accepted_in_words
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.evaluation.metrics import UncertaintyMetrics
from lwseg_ros.model.acceptance import Acceptance

NAMES = ["road", "tree", "sky", "car", "sign"]
CLAIM = Acceptance(0.1, 0.9, {0: 254, 1: 20, 2: 0, 4: 60}, {})

# Of road 3 right and 1 wrong; of tree one right below its threshold and one right and one wrong above; of sky none predicted; of
# car, never accepted, one; one ignored; one without a label.
TRUE = np.array([[0, 0, 0, 1, 1, 1, 2, 3, 255, 3]], np.uint8)
PRED = np.array([[0, 0, 0, 0, 1, 1, 1, 3, 1, 255]], np.uint8)
LEVELS = np.array([[0, 99, 254, 7, 20, 21, 90, 0, 0, 255]], np.uint8)


def counted() -> UncertaintyMetrics:
    counts = UncertaintyMetrics(5, 255)
    counts.update(TRUE, PRED, LEVELS)
    return counts


def test_claimed_against_met() -> None:
    figures = acceptance_figures(counted(), CLAIM, NAMES)
    assert figures["share"] == pytest.approx(5 / 9)
    assert figures["error_rate"] == pytest.approx(1 / 5)
    assert (figures["level"], figures["confidence"]) == (0.1, 0.9)
    assert figures["per_class"] == {
        "road": {"share": 1.0, "error_rate": 0.25, "pixels": 4, "met": False},
        "tree": {"share": pytest.approx(1 / 3), "error_rate": 0.0, "pixels": 1, "met": True},
        "sky": {"share": None, "error_rate": None, "pixels": 0, "met": None},
        "car": {"share": 0.0, "error_rate": None, "pixels": 0, "met": None},
        "sign": {"share": None, "error_rate": None, "pixels": 0, "met": None},
    }
    assert figures["not_met"] == ["road"]
    assert json.loads(json.dumps(figures)) == figures
    words = accepted_in_words(figures)
    assert "of a class at most 0.25% are claimed to be, with a confidence of 99.9%" in accepted_in_words(
        figures | {"level": 0.0025, "confidence": 0.999}
    )
    assert words.startswith("55.6% of the pixels, 20.00% of them wrong; of a class at most 10% are claimed to be")
    assert words.endswith("not met by road (25.0%)")


def test_a_rate_that_equals_the_level_meets_it() -> None:
    figures = acceptance_figures(counted(), Acceptance(0.25, 0.9, CLAIM.thresholds, {}), NAMES)
    assert figures["not_met"] == []
    assert accepted_in_words(figures).endswith("met by every class with accepted pixels")


def test_nothing_judged_and_nothing_accepted() -> None:
    assert accepted_in_words(acceptance_figures(UncertaintyMetrics(5, 255), CLAIM, NAMES)) == "no pixel was judged"
    assert (
        accepted_in_words(acceptance_figures(counted(), Acceptance(0.1, 0.9, {}, {}), NAMES)) == "no pixel is accepted"
    )


def test_the_evaluator_holds_a_model_to_its_claim() -> None:
    _, label = painted_image((30, 40))
    wrong = (label + 1) % len(CLASSES)
    evaluator = Evaluator.of_model(tiny_manifest(acceptance=ACCEPTANCE))
    certain = np.zeros_like(label)
    evaluator.add(Prediction(label, certain), label)
    evaluator.add(Prediction(label, certain), wrong)
    evaluator.add(Prediction(label), wrong)  # without uncertainty nothing is accepted, nor judged
    accepted = evaluator.metrics()["accepted"]
    assert accepted["share"] == pytest.approx(1 - (label == 3).mean())
    assert accepted["error_rate"] == 0.5
    assert set(accepted["not_met"]) == {CLASSES[i].name for i in np.unique(label) if i != 3}
    assert Evaluator.of_model(tiny_manifest()).metrics()["accepted"] is None
