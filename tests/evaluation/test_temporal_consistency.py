"""Temporal consistency on motion that is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lwseg_ros.evaluation.temporal_consistency import TemporalConsistency

SHIFT = 6


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A textured wide scene, uint8 BGR [120, 200, 3], and vertical stripes of labels in it."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 200), dtype=np.uint8)
    image = cv2.cvtColor(cv2.GaussianBlur(noise, (0, 0), 2.0), cv2.COLOR_GRAY2BGR)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    label = np.broadcast_to((np.arange(200) // 10 % 3).astype(np.uint8), (120, 200))
    return image, np.ascontiguousarray(label)


def window(picture: np.ndarray, offset: int) -> np.ndarray:
    return np.ascontiguousarray(picture[:, offset : offset + 150])


def test_labels_that_move_with_the_scene_are_consistent(scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = scene
    moving, standing = TemporalConsistency(), TemporalConsistency()
    for offset in (0, SHIFT, 2 * SHIFT):
        moving.update(window(image, offset), window(label, offset))
        standing.update(window(image, offset), window(label, 0))
    assert moving.value > 0.98
    # stripes that stand still while the scene moves 6 px under 10 px wide stripes agree on 4 of 10 columns
    assert standing.value == pytest.approx(0.4, abs=0.05)
    # what came into view at the edge is not followed
    assert moving.followed < 2 * 120 * (150 - SHIFT + 2)
    assert moving.followed > 0.8 * 2 * 120 * (150 - SHIFT)


def test_flicker_counts(scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = scene
    flickering = label.copy()
    flickering[:30] = (flickering[:30] + 1) % 3
    consistency = TemporalConsistency()
    consistency.update(image, label)
    consistency.update(image, flickering)
    assert consistency.value == pytest.approx(0.75, abs=0.01)


def test_a_gap_is_not_bridged(scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = scene
    consistency = TemporalConsistency()
    consistency.update(image, label)
    consistency.skip()
    consistency.update(image, label)
    assert np.isnan(consistency.value)
    with pytest.raises(ValueError, match="same size"):
        consistency.update(image, label[:5])
