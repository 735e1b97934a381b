"""Variations of a sample: image and label move together, and each option does what it says and nothing else."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from lwseg_training.config.recipe import AugmentationSection
from lwseg_training.data.augmentation import IGNORE, augment, mix_classes
from support.camvid_miniature import paint_scene

SIZE_HW = (60, 80)
EVERYTHING: dict[str, Any] = {
    "scale": (0.5, 2.0),
    "aspect": 0.2,
    "rotation_deg": 15,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue_deg": 20,
    "gamma": 0.3,
    "color_gain": 0.2,
    "gray": 0.2,
    "blur": 0.5,
    "noise": 8,
}


def vary(image: np.ndarray, label: np.ndarray, seed: int = 0, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    settings = AugmentationSection.model_validate({"crop_hw": SIZE_HW, "flip": 0.0, **options})
    return augment(image, label, settings, np.random.default_rng(seed))


def vary_image(image: np.ndarray, seed: int = 0, **options: Any) -> np.ndarray:
    return vary(image, np.zeros(image.shape[:2], np.uint8), seed, **options)[0]


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return paint_scene(3, SIZE_HW)


def test_without_options_a_sample_stays_as_it_is(scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = vary(*scene)
    assert np.array_equal(image, scene[0])
    assert np.array_equal(label, scene[1])


@pytest.mark.parametrize("seed", range(12))
def test_image_and_label_are_warped_alike(seed: int) -> None:
    label = np.kron(np.random.default_rng(seed).integers(0, 2, (6, 8)), np.ones((10, 10))).astype(np.uint8)
    image = np.repeat(np.where(label, 250, 0).astype(np.uint8)[..., None], 3, axis=-1)
    warped, warped_label = vary(image, label, seed, scale=(0.4, 2.5), aspect=0.3, rotation_deg=30, flip=0.5)
    assert set(np.unique(warped_label)) <= {0, 1, IGNORE}
    # Where bilinear gives more than half of a class, nearest has to give that class; half a pixel's shift would fail.
    inside = cv2.erode((warped_label != IGNORE).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    mixed = inside & (warped[..., 0] > 0) & (warped[..., 0] < 250)
    agree = (warped[..., 0] > 125) == (warped_label == 1)
    assert mixed.sum() > 50
    assert agree[mixed].mean() > 0.95
    assert agree[inside & ~mixed].all()


@pytest.mark.parametrize("size_hw", [(30, 50), (90, 60), (60, 80)])
def test_scale_can_be_counted_from_the_shorter_side(size_hw: tuple[int, int]) -> None:
    image, label = np.zeros((*size_hw, 3), np.uint8), np.zeros(size_hw, np.uint8)
    crop_hw = tuple(60 * side // min(size_hw) for side in size_hw)
    _, whole = vary(image, label, crop_hw=crop_hw, short_side=60)
    assert (whole == 0).mean() > 0.95
    _, half = vary(image, label, crop_hw=crop_hw, short_side=60, scale=(0.5, 0.5))
    assert (half == 0).mean() == pytest.approx(0.25, abs=0.03)
    by_long_side = vary(image, label, crop_hw=crop_hw, long_side=60 * max(size_hw) // min(size_hw))[1]
    assert np.array_equal(by_long_side, whole)


def test_the_scale_is_drawn_uniformly_in_its_logarithm_or_in_itself() -> None:
    """Between 1/4 and 1, half of the first are below 1/2, and half of the others below 5/8; areas are squares of that."""
    image, label = np.zeros((*SIZE_HW, 3), np.uint8), np.zeros(SIZE_HW, np.uint8)
    medians = {
        draw: np.median(
            [(vary(image, label, seed, scale=(0.25, 1), scale_draw=draw)[1] == 0).mean() for seed in range(2000)]
        )
        for draw in ("log_uniform", "uniform")
    }
    assert medians["log_uniform"] == pytest.approx(0.5**2, abs=0.06)
    assert medians["uniform"] == pytest.approx(0.625**2, abs=0.06)


def test_one_side_gives_the_scale() -> None:
    with pytest.raises(ValueError, match="give short_side or long_side, not both"):
        AugmentationSection(crop_hw=SIZE_HW, short_side=20, long_side=30)


@pytest.mark.parametrize("period", [2, 3, 4])
def test_averaging_reduces_without_aliasing(period: int) -> None:
    """Of lines as far apart as a crop's pixels each pixel sees the same light; bilinear sampling hits or misses them."""
    image = np.zeros((240, 324, 3), np.uint8)
    image[:, ::period] = 255
    mean, crop_hw = image.mean(), (240 // period - 8, 324 // period - 8)  # smaller, so that its position is drawn
    worst = {"bilinear": 0.0, "area": 0.0}
    for seed in range(10):
        for reduction in worst:
            reduced = vary_image(image, seed, crop_hw=crop_hw, scale=(1 / period, 1 / period), reduction=reduction)
            worst[reduction] = max(worst[reduction], float(np.abs(reduced - mean).max()))
    assert worst["area"] <= 1
    assert worst["bilinear"] > 60


@pytest.mark.parametrize("seed", range(8))
def test_averaging_leaves_everything_where_it_was(seed: int) -> None:
    """A smooth image, which does not alias, becomes the same image either way, wherever it is turned, flipped and shifted to."""
    rows, columns = np.mgrid[:120, :160]
    image = np.stack([columns, rows * 2, (columns + rows) / 2], axis=-1).astype(np.uint8)
    label = (columns > 80).astype(np.uint8)
    options: dict[str, Any] = {"scale": (0.3, 1.5), "aspect": 0.5, "rotation_deg": 30, "flip": 0.5}
    bilinear, ours = vary(image, label, seed, **options)
    averaged, theirs = vary(image, label, seed, **options, reduction="area")
    assert np.array_equal(ours, theirs)
    inside = cv2.erode((ours != IGNORE).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    difference = bilinear[inside].astype(float) - averaged[inside]
    assert np.abs(difference).max() <= 3
    assert np.abs(difference.mean(axis=0)).max() < 0.3  # a whole pixel of the image is 1 or 2 levels


def test_enlarging_does_not_average(scene: tuple[np.ndarray, np.ndarray]) -> None:
    options: dict[str, Any] = {"scale": (1.0, 2.0), "rotation_deg": 15}
    assert np.array_equal(vary_image(scene[0], 1, **options), vary_image(scene[0], 1, **options, reduction="area"))


def test_outside_the_image_is_ignored_and_gray() -> None:
    image, label = np.full((*SIZE_HW, 3), 200, np.uint8), np.full(SIZE_HW, 4, np.uint8)
    warped, warped_label = vary(image, label, scale=(0.5, 0.5))
    assert warped.shape == (*SIZE_HW, 3)
    assert set(np.unique(warped_label)) == {4, IGNORE}
    assert (warped_label == 4).mean() == pytest.approx(0.25, abs=0.02)
    far = cv2.erode((warped_label == IGNORE).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (warped[far] == 128).all()
    assert (warped[warped_label == 4] >= 128).all()


def test_ignored_pixels_stay_ignored(scene: tuple[np.ndarray, np.ndarray]) -> None:
    label = scene[1].copy()
    label[label == 11] = IGNORE
    assert IGNORE in vary(scene[0], label, flip=1.0)[1]


def test_flip_mirrors_left_and_right(scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = vary(*scene, flip=1.0)
    assert np.array_equal(image, scene[0][:, ::-1])
    assert np.array_equal(label, scene[1][:, ::-1])


def test_flip_happens_as_often_as_asked(scene: tuple[np.ndarray, np.ndarray]) -> None:
    flipped = sum(np.array_equal(vary(*scene, seed, flip=0.3)[0], scene[0][:, ::-1]) for seed in range(300))
    assert 60 <= flipped <= 120


def test_scale_stays_between_its_bounds() -> None:
    label = np.zeros(SIZE_HW, np.uint8)
    image = np.zeros((*SIZE_HW, 3), np.uint8)
    shares = [(vary(image, label, seed, scale=(0.5, 0.8))[1] == 0).mean() for seed in range(50)]
    assert 0.5**2 - 0.03 < min(shares) < 0.35
    assert 0.55 < max(shares) < 0.8**2 + 0.03


def test_a_large_scale_is_shifted_within_the_crop_but_never_out_of_it() -> None:
    columns = np.tile(np.arange(SIZE_HW[1], dtype=np.uint8), (SIZE_HW[0], 1))
    firsts = set()
    for seed in range(30):
        _, label = vary(np.zeros((*SIZE_HW, 3), np.uint8), columns, seed, scale=(2.0, 2.0))
        assert IGNORE not in label
        firsts.add(int(label[0, 0]))
    assert min(firsts) < 8
    assert max(firsts) > 30


@pytest.mark.parametrize("crop_hw", [(33, 57), (96, 128)])
def test_crop_may_have_any_size(crop_hw: tuple[int, int], scene: tuple[np.ndarray, np.ndarray]) -> None:
    image, label = vary(*scene, crop_hw=crop_hw, **EVERYTHING)
    assert image.shape == (*crop_hw, 3)
    assert label.shape == crop_hw
    assert image.dtype == label.dtype == np.uint8


def test_the_same_generator_gives_the_same_sample(scene: tuple[np.ndarray, np.ndarray]) -> None:
    given = scene[0].copy(), scene[1].copy()
    first, again, other = (vary(*scene, seed, **EVERYTHING) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert all(np.array_equal(a, b) for a, b in zip(given, scene, strict=True)), "the input was changed in place"


def test_colors_leave_the_label_alone(scene: tuple[np.ndarray, np.ndarray]) -> None:
    colors = {name: value for name, value in EVERYTHING.items() if name not in ("scale", "aspect", "rotation_deg")}
    image, label = vary(*scene, **colors)
    assert not np.array_equal(image, scene[0])
    assert np.array_equal(label, scene[1])


def test_photometric_zero_switches_the_color_options_off(scene: tuple[np.ndarray, np.ndarray]) -> None:
    options = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue_deg": 90, "gamma": 0.5, "gray": 1.0}
    assert np.array_equal(vary(*scene, photometric=0.0, **options)[0], scene[0])


def flat(level: int) -> np.ndarray:
    return np.full((*SIZE_HW, 3), level, np.uint8)


def test_brightness_scales_all_levels_by_one_factor() -> None:
    image = flat(100)
    image[:, 40:] = 50
    factors = []
    for seed in range(40):
        varied = vary_image(image, seed, brightness=0.4)
        factors.append(varied[0, 0, 0] / 100)
        assert varied[0, 79, 0] == pytest.approx(varied[0, 0, 0] / 2, abs=1)
    assert 0.6 <= min(factors) < 0.75
    assert 1.25 < max(factors) <= 1.4


def test_contrast_moves_levels_about_the_mean() -> None:
    image = flat(60)
    image[:, 40:] = 140
    spreads = []
    for seed in range(40):
        varied = vary_image(image, seed, contrast=0.5).astype(int)
        assert varied.mean() == pytest.approx(100, abs=1)
        spreads.append(varied[0, 79, 0] - varied[0, 0, 0])
    assert 40 <= min(spreads) < 60
    assert 100 < max(spreads) <= 120


def test_gamma_keeps_black_and_white() -> None:
    image = flat(0)
    image[:, 20:40], image[:, 40:] = 128, 255
    middles = []
    for seed in range(40):
        varied = vary_image(image, seed, gamma=0.5)
        assert varied[0, 0, 0] == 0
        assert varied[0, 79, 0] == 255
        middles.append(int(varied[0, 30, 0]))
    assert min(middles) < 110
    assert max(middles) > 150


def test_gray_takes_the_color_out() -> None:
    varied = vary_image(np.tile(np.array([200, 100, 50], np.uint8), (*SIZE_HW, 1)), gray=1.0)
    assert np.ptp(varied, axis=-1).max() <= 1
    assert varied[0, 0, 0] == pytest.approx(0.114 * 200 + 0.587 * 100 + 0.299 * 50, abs=1)


def test_saturation_and_hue_leave_gray_pixels_alone() -> None:
    assert np.abs(vary_image(flat(90), saturation=0.9, hue_deg=180).astype(int) - 90).max() <= 1


def test_saturation_moves_colors_away_from_their_gray() -> None:
    color = np.array([120, 100, 80])
    gray = 0.114 * 120 + 0.587 * 100 + 0.299 * 80
    for seed in range(10):
        varied = vary_image(np.tile(color.astype(np.uint8), (*SIZE_HW, 1)), seed, saturation=0.5)[0, 0]
        factor = (varied - gray) / (color - gray)
        assert np.ptp(factor[[0, 2]]) < 0.1
        assert 0.45 < factor[0] < 1.55


def test_hue_of_half_a_turn_makes_blue_yellowish() -> None:
    blue = np.tile(np.array([200, 60, 60], np.uint8), (*SIZE_HW, 1))
    varied = [vary_image(blue, seed, hue_deg=180)[0, 0] for seed in range(40)]
    assert any(pixel.argmax() != 0 for pixel in varied)
    assert all(int(pixel.sum()) == pytest.approx(320, abs=3) for pixel in varied)


def test_color_gain_scales_each_channel_by_its_own_factor() -> None:
    varied = vary_image(flat(100), 1, color_gain=0.3)[0, 0]
    assert len(set(varied.tolist())) == 3
    assert all(70 <= level <= 130 for level in varied)


def test_blur_smooths_edges_and_nothing_else() -> None:
    image = flat(0)
    image[:, 40:] = 255
    varied = vary_image(image, 2, blur=1.0)
    assert 0 < varied[30, 39, 0] < 128 < varied[30, 40, 0] < 255
    assert varied[30, 0, 0] == 0
    assert varied[30, 79, 0] == 255


def test_noise_has_no_bias_and_at_most_the_given_deviation() -> None:
    deviations = []
    for seed in range(20):
        difference = vary_image(flat(120), seed, noise=10.0).astype(int) - 120
        deviations.append(difference.std())
        assert abs(difference.mean()) < 0.5
    assert max(deviations) < 10.5
    assert min(deviations) < 3


def test_mixing_pastes_whole_classes_and_their_pixels() -> None:
    label, other = np.zeros(SIZE_HW, np.uint8), np.zeros(SIZE_HW, np.uint8)
    other[:, 20:40], other[:, 40:60], other[:, 60:] = 1, 2, 3
    other[:5] = IGNORE
    mixed_any = set()
    for seed in range(20):
        image, mixed = mix_classes(flat(10), label + 7, flat(20), other, np.random.default_rng(seed))
        pasted = mixed != 7
        chosen = set(np.unique(mixed[pasted]).tolist())
        mixed_any |= chosen
        assert len(chosen) == 2, "half of four classes"
        assert IGNORE not in chosen
        assert np.array_equal(pasted, np.isin(other, list(chosen)))
        assert (image[pasted] == 20).all()
        assert (image[~pasted] == 10).all()
    assert mixed_any == {0, 1, 2, 3}


def test_mixing_with_a_sample_without_labels_changes_nothing() -> None:
    nothing = np.full(SIZE_HW, IGNORE, np.uint8)
    image, label = mix_classes(flat(10), np.ones(SIZE_HW, np.uint8), flat(20), nothing, np.random.default_rng(0))
    assert (image == 10).all()
    assert (label == 1).all()
