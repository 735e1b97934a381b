"""Pictures, against values worked out by hand."""

from __future__ import annotations

import numpy as np

from lwseg_ros.imaging.drawing import colorize, heat_map, legend, overlay

PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[1] = (200, 100, 50)
LABEL = np.array([[0, 1], [1, 255]], np.uint8)


def test_colorize() -> None:
    expected = [[[0, 0, 0], [200, 100, 50]], [[200, 100, 50], [0, 0, 0]]]
    np.testing.assert_array_equal(colorize(LABEL, PALETTE), expected)


def test_overlay_weighs_image_and_colours() -> None:
    image = np.full((2, 2, 3), 40, np.uint8)
    np.testing.assert_array_equal(overlay(image, LABEL, PALETTE, 0.0), image)
    np.testing.assert_array_equal(overlay(image, LABEL, PALETTE, 1.0), colorize(LABEL, PALETTE))
    np.testing.assert_array_equal(overlay(image, LABEL, PALETTE, 0.25)[0], [[30, 30, 30], [80, 55, 42]])


def test_overlay_has_the_size_of_the_label() -> None:
    image = np.full((8, 6, 3), 40, np.uint8)
    np.testing.assert_array_equal(overlay(image, LABEL, PALETTE, 0.0), np.full((2, 2, 3), 40))


def test_heat_map_brightens_with_uncertainty() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    luminance = heat_map(levels).astype(float) @ [0.114, 0.587, 0.299]
    assert luminance.shape == (16, 16)
    assert np.all(np.diff(luminance.ravel()[::16]) > 0)


def test_colorize_looks_up_every_class_id() -> None:
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    label = np.arange(256, dtype=np.uint8).reshape(8, 32)
    np.testing.assert_array_equal(colorize(label, palette), palette[label])
    np.testing.assert_array_equal(colorize(label[:, ::2], palette), palette[label[:, ::2]])


def test_legend_has_a_row_with_each_class_colour() -> None:
    strip = legend(["road", "sky"], [(1, 2, 3), (200, 100, 50)], width=120)
    assert strip.shape == (48, 120, 3)
    np.testing.assert_array_equal(strip[12, 20], (1, 2, 3))
    np.testing.assert_array_equal(strip[36, 20], (200, 100, 50))
    assert (strip[:24, 40:] == 0).all(axis=2).any(), "the first name is not written"
    assert (strip[24:, 40:] == 0).all(axis=2).any(), "the second name is not written"
