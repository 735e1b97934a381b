"""Pictures for people: class colours, their overlay on the image, uncertainty as heat, and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from lwseg_ros.imaging.resizing import resize_image

LEGEND_ROW_PX = 24


def colorize(label: np.ndarray, palette_bgr: np.ndarray) -> npt.NDArray[np.uint8]:
    """Paint class ids in their colours.

    label: uint8 [H, W]; palette_bgr: uint8 [256, 3]. Returns uint8 BGR [H, W, 3].
    """
    # OpenCV's look-up wants as many channels in as out; three equal planes are still three times as fast as indexing.
    return np.asarray(cv2.LUT(cv2.merge([label, label, label]), palette_bgr.reshape(1, 256, 3)), np.uint8)


def overlay(image: np.ndarray, label: np.ndarray, palette_bgr: np.ndarray, alpha: float = 0.5) -> npt.NDArray[np.uint8]:
    """Lay the class colours over the image.

    image: uint8 BGR [H, W, 3], brought to the label's size where that differs; label: uint8 [H, W]; palette_bgr: uint8
    [256, 3]; alpha: 0 shows the image only, 1 the colours only. Returns uint8 BGR of the label's size.
    """
    image = resize_image(image, label.shape)
    return np.asarray(cv2.addWeighted(image, 1.0 - alpha, colorize(label, palette_bgr), alpha, 0.0), np.uint8)


def heat_map(uncertainty: np.ndarray) -> npt.NDArray[np.uint8]:
    """Show uncertainty from dark (certain) to bright (not at all).

    uncertainty: uint8 [H, W]. Returns uint8 BGR [H, W, 3], in colours whose lightness grows evenly (inferno).
    """
    return np.asarray(cv2.applyColorMap(uncertainty, cv2.COLORMAP_INFERNO), np.uint8)


def legend(names: Sequence[str], colors_bgr: Sequence[Sequence[int]], width: int = 180) -> npt.NDArray[np.uint8]:
    """Draw one row a class, 24 pixels high: its colour and its name.

    colors_bgr: one BGR triple a name. Returns uint8 BGR [24 * names, width, 3].
    """
    strip = np.full((LEGEND_ROW_PX * len(names), width, 3), 255, np.uint8)
    for row, (name, color) in enumerate(zip(names, colors_bgr, strict=True)):
        top = row * LEGEND_ROW_PX
        strip[top + 3 : top + LEGEND_ROW_PX - 3, 4:34] = color
        baseline = (42, top + LEGEND_ROW_PX - 7)
        cv2.putText(strip, name, baseline, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
