"""Resizing, small enough to check by hand."""

from __future__ import annotations

import numpy as np

from lwseg_ros.imaging.resizing import resize_image, resize_label, resize_uncertainty


def test_the_right_size_is_left_alone() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert resize_image(image, (2, 4)) is image
    label = image[..., 0]
    assert resize_label(label, (2, 4)) is resize_uncertainty(label, (2, 4)) is label
    out = np.zeros_like(image)
    assert resize_image(image, (2, 4), out=out) is out
    np.testing.assert_array_equal(out, image)


def test_images_are_averaged_where_linear_would_skip_pixels() -> None:
    image = np.zeros((2, 8, 3), np.uint8)
    image[:, 0] = 240
    out = np.empty((2, 2, 3), np.uint8)
    assert resize_image(image, (2, 2), out=out) is out
    assert out[0, :, 0].tolist() == [60, 0]
    assert resize_image(image, (2, 4))[0, :, 0].tolist() == [120, 0, 0, 0]


def test_labels_do_not_mix_and_uncertainty_does() -> None:
    plane = np.array([[0, 100]], np.uint8)
    assert resize_label(plane, (1, 4)).tolist() == [[0, 0, 100, 100]]
    assert resize_uncertainty(plane, (1, 4)).tolist() == [[0, 25, 75, 100]]
