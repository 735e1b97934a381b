"""What the tests of the data sets write: images of 2 x 4 pixels at the places where a real data set has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lwseg_ros.datasets import Split, load_split, read_pair


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[[str], None]:
    """Write a grey image of 2 x 4 pixels under tmp_path."""

    def write(name: str) -> None:
        _write(tmp_path / name, np.full((2, 4, 3), 90, np.uint8))

    return write


@pytest.fixture
def write_label(tmp_path: Path) -> Callable[..., None]:
    """Write a label of 2 x 4 pixels under tmp_path: each value, a number or an RGB colour, fills as many columns as fit."""

    def write(name: str, *values: object) -> None:
        columns = np.repeat(np.array(values, np.uint8), 4 // len(values), axis=0)
        label = np.stack([columns, columns])
        _write(tmp_path / name, label if label.ndim == 2 else label[..., ::-1])

    return write


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Split]:
    """Load a split of the data set under tmp_path."""

    def load_it(name: str, split: str) -> Split:
        return load_split(name, tmp_path, split)

    return load_it


@pytest.fixture
def ids() -> Callable[[Split, int], list[int]]:
    """Read a pair of a split and return the ids of the label's first row."""

    def read(split: Split, index: int) -> list[int]:
        image, label = read_pair(*split.pairs[index])
        assert image.shape == (2, 4, 3)
        assert label.dtype == np.uint8
        assert np.array_equal(label[0], label[1])
        return label[0].tolist()

    return read


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
