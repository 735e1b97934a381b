"""Pictures for people: labels in colour, overlays, uncertainty as heat, a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

LEGEND_ROW_PX = 24


def colorize(label: np.ndarray, palette_bgr: np.ndarray) -> np.ndarray:
    """Paint class ids; label uint8 [H, W], palette_bgr uint8 [256, 3], returns uint8 BGR [H, W, 3]."""
    # OpenCV's table look-up wants as many channels in as out; three copies of a plane are still faster than indexing.
    return cv2.LUT(cv2.merge([label, label, label]), palette_bgr.reshape(1, 256, 3))


def overlay(image: np.ndarray, label: np.ndarray, palette_bgr: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Blend an image with its labels' colours.

    image: uint8 BGR [H, W, 3]. label: uint8 [H, W]. palette_bgr: uint8 [256, 3]. alpha: the colours' share, 0..1.
    Returns uint8 BGR [H, W, 3]. Raises ValueError when the sizes differ or alpha is out of range.
    """
    if image.shape[:2] != label.shape:
        raise ValueError(
            f"image is {image.shape[:2]}, label is {label.shape}; both must have the same height and width"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, expected 0 to 1")
    return cv2.addWeighted(colorize(label, palette_bgr), alpha, image, 1 - alpha, 0)


def heat_map(uncertainty: np.ndarray) -> np.ndarray:
    """Paint uncertainty, dark blue for certain to yellow for not at all; uint8 [H, W] to uint8 BGR [H, W, 3].

    The colours (viridis) grow evenly in lightness, so that equal steps look equal, in grey and to the colour-blind too.
    """
    return cv2.applyColorMap(uncertainty, cv2.COLORMAP_VIRIDIS)


def legend(names: Sequence[str], colors_bgr: Sequence[Sequence[int]], width: int = 180) -> np.ndarray:
    """Draw one row a class: its colour and its name; returns uint8 BGR [24 * classes, width, 3]."""
    strip = np.full((LEGEND_ROW_PX * len(names), width, 3), 255, np.uint8)
    for row, (name, color) in enumerate(zip(names, colors_bgr, strict=True)):
        top = row * LEGEND_ROW_PX
        strip[top + 3 : top + LEGEND_ROW_PX - 3, 4:34] = color
        cv2.putText(
            strip, name, (42, top + LEGEND_ROW_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
    return strip
