"""Rigid motions: from and to quaternions, and between two of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def matrix(translation: npt.ArrayLike, quaternion: npt.ArrayLike) -> np.ndarray:
    """Make the float64 [4, 4] of a translation and a unit quaternion x, y, z, w."""
    x, y, z, w = np.asarray(quaternion)
    result = np.eye(4)
    result[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    result[:3, 3] = translation
    return result


def inverse(motion: np.ndarray) -> np.ndarray:
    """Invert a rigid motion [4, 4]."""
    result = np.eye(4)
    result[:3, :3] = motion[:3, :3].T
    result[:3, 3] = -motion[:3, :3].T @ motion[:3, 3]
    return result


def slerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Give the unit quaternion [4] a share of the way from the first to the second, the shorter way round."""
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        result = first + share * (second - first)
    else:
        result = (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)
    return np.asarray(result / np.linalg.norm(result))
