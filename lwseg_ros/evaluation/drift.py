"""Whether a camera sees what its model was calibrated on: a sliding window of frames against what the manifest calls normal."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from lwseg_ros.model.acceptance import Acceptance, Range

WINDOW_S = 10.0
ROW_STEP = 4
"""Only every fourth row is looked at, which costs a quarter and tells the same."""


class FrameFigures(NamedTuple):
    """What is compared of a frame, or the mean of it over a window.

    The uncertainty alone does not tell dusk from day: a network may be as certain of what it sees in the dark, and no more right.
    """

    accepted_share: float
    """Of the image's pixels, in [0, 1]."""
    uncertainty_spread: float
    """Standard deviation of the 8-bit uncertainty over the image's pixels."""
    brightness: float
    """Mean luma of the image, 0..255."""


WORRYING = {"accepted_share": (True, False), "uncertainty_spread": (False, True), "brightness": (True, True)}
"""Whether too little and whether too much of a figure is a reason to warn: to be surer than on the streets of the calibration,
which the model had not seen, is none."""


def frame_figures(
    acceptance: Acceptance, image: np.ndarray, label: np.ndarray, uncertainty: np.ndarray
) -> FrameFigures:
    """Take the figures of a frame: image uint8 BGR [H, W, 3], label and uncertainty uint8 [h, w]."""
    accepted = acceptance.accepted(label[::ROW_STEP], uncertainty[::ROW_STEP])
    return FrameFigures(cv2.countNonZero(accepted) / accepted.size, spread(uncertainty), brightness(image))


def spread(uncertainty: np.ndarray) -> float:
    """Return `FrameFigures.uncertainty_spread` of uint8 [H, W]."""
    return float(cv2.meanStdDev(uncertainty[::ROW_STEP])[1].item())


def brightness(image: np.ndarray) -> float:
    """Return `FrameFigures.brightness` of an image uint8 BGR [H, W, 3]."""
    blue, green, red, _ = cv2.mean(image[::ROW_STEP])
    return 0.114 * blue + 0.587 * green + 0.299 * red


def unusual(figures: FrameFigures, normal: Mapping[str, Range]) -> list[str]:
    """Say what of a window lies outside of what is normal, one text a figure."""
    texts = []
    for name, value in figures._asdict().items():
        least, largest = normal.get(name, (None, None))
        if (least is not None and value < least) or (largest is not None and value > largest):
            ends = (("at least", least), ("at most", largest))
            allowed = " and ".join(f"{which} {end:.3g}" for which, end in ends if end is not None)
            texts.append(f"{name} is {value:.3g}, normal is {allowed}")
    return texts


class DriftWindow:
    """The mean of the frames' figures over the last WINDOW_S seconds. Times are of one clock, in seconds. Safe to use from several
    threads."""

    def __init__(self) -> None:
        """Start without a frame."""
        self._lock = threading.Lock()
        self._frames: deque[tuple[float, FrameFigures]] = deque()
        self._since_s = 0.0

    def add(self, time_s: float, figures: FrameFigures) -> None:
        """Take in a frame; after a pause as long as the window it begins anew."""
        with self._lock:
            while self._frames and self._frames[0][0] <= time_s - WINDOW_S:
                self._frames.popleft()
            if not self._frames:
                self._since_s = time_s
            self._frames.append((time_s, figures))

    def mean(self, now_s: float) -> FrameFigures | None:
        """Return the mean over the window that ends now; None where frames have not come for its whole length, or come no more."""
        with self._lock:
            frames = [figures for time_s, figures in self._frames if time_s > now_s - WINDOW_S]
            if not frames or self._frames[-1][0] - self._since_s < WINDOW_S:
                return None
        return FrameFigures(*np.mean(frames, axis=0).tolist())
