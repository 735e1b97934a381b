"""Figures of frames by hand, and windows of them."""

from __future__ import annotations

import numpy as np
import pytest

from lwseg_ros.evaluation.drift import DriftWindow, FrameFigures, frame_figures, unusual
from lwseg_ros.model.acceptance import Acceptance

NORMAL = {"accepted_share": (0.5, None), "uncertainty_spread": (None, 40.0), "brightness": (70.0, 160.0)}


def test_the_figures_of_a_frame() -> None:
    image = np.zeros((8, 2, 3), np.uint8)
    image[:] = (10, 20, 30)
    label = np.zeros((8, 2), np.uint8)
    label[4, 1] = 1
    uncertainty = np.full((8, 2), 100, np.uint8)
    uncertainty[4] = (20, 0)
    image[1], label[1], uncertainty[1] = 255, 1, 7  # not looked at, as only rows 0 and 4 are
    figures = frame_figures(Acceptance(0.1, 0.9, {0: 20}, {}), image, label, uncertainty)
    assert figures.accepted_share == 0.25
    assert figures.uncertainty_spread == pytest.approx(np.std([100, 100, 20, 0]))
    assert figures.brightness == pytest.approx(0.114 * 10 + 0.587 * 20 + 0.299 * 30)


@pytest.mark.parametrize(
    ("figures", "texts"),
    [
        (FrameFigures(0.5, 40.0, 160.0), []),
        (FrameFigures(0.99, 1.0, 70.0), []),  # surer than the streets of the calibration
        (FrameFigures(0.4, 20.0, 100.0), ["accepted_share is 0.4, normal is at least 0.5"]),
        (
            FrameFigures(0.6, 41.0, 60.0),
            ["uncertainty_spread is 41,", "brightness is 60, normal is at least 70 and at most 160"],
        ),
    ],
)
def test_what_is_unusual(figures: FrameFigures, texts: list[str]) -> None:
    found = unusual(figures, NORMAL)
    assert len(found) == len(texts)
    assert all(text in said for text, said in zip(texts, found, strict=True))
    assert unusual(figures, {}) == []


def test_a_window_slides() -> None:
    window = DriftWindow()
    assert window.mean(0.0) is None
    for second in range(10):
        window.add(float(second), FrameFigures(0.0, 0.0, 0.0))
    assert window.mean(9.0) is None, "frames have come for nine seconds only"
    for second in range(10, 15):
        window.add(float(second), FrameFigures(1.0, 10.0, 100.0))
    assert window.mean(14.0) == FrameFigures(0.5, 5.0, 50.0)  # seconds 5 to 14
    assert window.mean(20.5) == FrameFigures(1.0, 10.0, 100.0)
    assert window.mean(24.0) is None, "no frame for ten seconds"


def test_a_window_begins_anew_after_a_pause() -> None:
    window = DriftWindow()
    for second in (*range(12), *range(30, 35)):
        window.add(float(second), FrameFigures(1.0, 0.0, 0.0))
    assert window.mean(34.0) is None
