"""Parts of images: where they may lie, what they look like, and that a sample follows from its number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lwseg_training.config.pretraining_recipe import CropSection
from lwseg_training.data.classification_samples import TrainingImages, ValidationImages, center_part, random_part
from support.classification_miniature import write_images

from lwseg_ros.datasets import load_classification_split
from lwseg_ros.errors import DatasetError


def crop(**values: Any) -> CropSection:
    return CropSection.model_validate({"size_hw": (32, 32), "flip": 0.0, **values})


def ramp(height: int, width: int) -> np.ndarray:
    """An image whose blue is its column and whose green is its row, in parts of 255."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = columns * 255 // max(1, width - 1)
    image[..., 1] = rows * 255 // max(1, height - 1)
    return image


def test_the_whole_image_is_a_part_and_a_mirrored_one_is_reversed() -> None:
    image = ramp(32, 32)
    settings = crop(area=(1.0, 1.0), aspect=(1.0, 1.0))
    assert np.array_equal(random_part(image, settings, np.random.default_rng(0)), image)
    flipped = random_part(image, settings.model_copy(update={"flip": 1.0}), np.random.default_rng(0))
    assert np.array_equal(flipped, image[:, ::-1])


def test_parts_have_the_areas_and_proportions_that_were_asked_for() -> None:
    image, settings = ramp(240, 320), crop(area=(0.1, 0.4), aspect=(0.5, 2.0))
    random = np.random.default_rng(0)
    parts = [random_part(image, settings, random).astype(float) for _ in range(200)]
    widths = np.array([np.ptp(part[..., 0]) / 255 for part in parts])
    heights = np.array([np.ptp(part[..., 1]) / 255 for part in parts])
    areas, aspects = widths * heights, widths / heights * 320 / 240
    assert 0.08 < areas.min() < 0.13
    assert 0.35 < areas.max() < 0.42
    assert 0.48 < aspects.min() < 0.6
    assert 1.7 < aspects.max() < 2.1
    lefts = [part[..., 0].min() for part in parts]
    assert min(lefts) < 10
    assert max(lefts) > 150


@pytest.mark.parametrize("size_hw", [(3, 200), (200, 3), (1, 1)])
def test_an_image_that_no_part_fits_into_gives_its_centre(size_hw: tuple[int, int]) -> None:
    settings = crop(area=(0.9, 1.0), aspect=(1.0, 1.0))
    part = random_part(ramp(*size_hw), settings, np.random.default_rng(1))
    assert part.shape == (32, 32, 3)
    longer = part[..., 0] if size_hw[1] > size_hw[0] else part[..., 1]
    if size_hw != (1, 1):
        assert abs(float(longer.mean()) - 127) < 4


def test_the_centre_keeps_its_proportion() -> None:
    part = center_part(ramp(256, 512), crop(size_hw=(224, 224), center=0.875))
    assert part.shape == (224, 224, 3)
    assert np.array_equal(part, ramp(256, 512)[16:240, 144:368]), "as resizing the shorter side to 256 and cutting 224"
    whole = center_part(ramp(40, 100), crop(size_hw=(20, 50), center=1.0)).astype(float)
    assert np.ptp(whole[..., 0]) > 245
    assert np.ptp(whole[..., 1]) > 240


def test_a_sample_follows_from_its_number(tmp_path: Path) -> None:
    split = load_classification_split("image_folder", write_images(tmp_path), "train")
    one, other = (TrainingImages(split, crop(flip=0.5), seed=3) for _ in range(2))
    forwards = [one[number] for number in range(40)]
    backwards = [other[number] for number in reversed(range(40))][::-1]
    for (image, label), (image_again, label_again) in zip(forwards, backwards, strict=True):
        assert torch.equal(image, image_again)
        assert label == label_again
    assert sorted(label for _, label in forwards[:18]) == [0] * 6 + [1] * 6 + [2] * 6, "every image once an epoch"
    assert [label for _, label in forwards[:18]] != [label for _, label in forwards[18:36]]
    assert not torch.equal(TrainingImages(split, crop(), seed=4)[0][0], forwards[0][0])


def test_an_image_that_is_damaged_is_named(tmp_path: Path) -> None:
    split = load_classification_split("image_folder", write_images(tmp_path), "val")
    split[0][0].write_bytes(b"torn")
    with pytest.raises(DatasetError, match=r"cannot read .*val/brick/0\.png"):
        ValidationImages(split, crop())[0]
