"""Labels as PNG: the ids come back as they were, in less room, also where image_transport's rules read them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lwseg_ros.imaging import messages
from lwseg_ros.imaging.label_png import FORMAT, encode_label


def decoded(data: bytes) -> np.ndarray:
    return messages.decode_as_stored(SimpleNamespace(format=FORMAT, data=data))


def test_every_id_comes_back() -> None:
    label = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(encode_label(label)), label)


def test_areas_take_little_room() -> None:
    label = np.repeat(np.repeat(np.arange(12, dtype=np.uint8).reshape(3, 4), 60, axis=0), 60, axis=1)
    assert len(encode_label(label)) < label.nbytes / 50


@pytest.mark.parametrize(("divisor", "size_hw"), [(2, (2, 3)), (3, (1, 2)), (16, (1, 1))])
def test_a_divisor_keeps_ids_and_rounds_up(divisor: int, size_hw: tuple[int, int]) -> None:
    label = np.full((3, 5), 7, np.uint8)
    label[:, 3:] = 200
    reduced = decoded(encode_label(label, divisor))
    assert reduced.shape == size_hw
    assert set(np.unique(reduced)) <= {7, 200}
