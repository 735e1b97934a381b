"""Pictures for people: class colours, their overlay on the photo, and uncertainty as a heat map."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def colorize(label: np.ndarray, palette_bgr: np.ndarray) -> npt.NDArray[np.uint8]:
    """Paint class ids in their colours.

    label: uint8 [H, W]; palette_bgr: uint8 [256, 3]. Returns uint8 BGR [H, W, 3].
    """
    return np.asarray(palette_bgr[label], np.uint8)


def overlay(image: np.ndarray, label: np.ndarray, palette_bgr: np.ndarray, alpha: float) -> npt.NDArray[np.uint8]:
    """Lay the class colours over the photo.

    image: uint8 BGR [H, W, 3], brought to the label's size where that differs; label: uint8 [H, W]; palette_bgr: uint8
    [256, 3]; alpha: 0 shows the photo only, 1 the colours only. Returns uint8 BGR of the label's size.
    """
    height, width = label.shape
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.addWeighted(image, 1.0 - alpha, colorize(label, palette_bgr), alpha, 0.0), np.uint8)


def heat_map(uncertainty: np.ndarray) -> npt.NDArray[np.uint8]:
    """Show uncertainty from dark (certain) to bright (not at all).

    uncertainty: uint8 [H, W]. Returns uint8 BGR [H, W, 3].
    """
    return np.asarray(cv2.applyColorMap(uncertainty, cv2.COLORMAP_INFERNO), np.uint8)
