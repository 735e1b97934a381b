"""Fixtures of the conversion tests: painted splits of the tiny model's classes."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from support.tiny_model import CLASSES, painted_image

from lwseg_ros.datasets import Split


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Split]:
    """A training and a validation split of painted rectangles, six images each, 48 x 64."""
    return tuple(_write(tmp_path_factory.mktemp(name), name, seed) for name, seed in (("train", 0), ("val", 100)))  # type: ignore[return-value]


def _write(folder: Path, name: str, seed: int) -> Split:
    pairs = []
    for index in range(6):
        image, label = painted_image((48, 64), seed + index)
        pair = folder / f"{index}.png", folder / f"{index}_label.png"
        assert cv2.imwrite(str(pair[0]), image)
        assert cv2.imwrite(str(pair[1]), label)
        pairs.append(pair)
    return Split("painted colours", name, CLASSES, 255, tuple(pairs))
