"""Samples of whole images with one class each. As in samples.py, what a sample is follows from the seed and its number alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lwseg_ros.datasets import ClassificationSplit, read_image
from lwseg_ros.imaging.resizing import resize_image
from lwseg_training.config.pretraining_recipe import CropSection

CROP_TRIES = 10


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """Random parts of a split's images by number: epoch after epoch, each in an order of its own. Nothing is kept decoded."""

    def __init__(self, split: ClassificationSplit, settings: CropSection, seed: int) -> None:
        self.split = split
        self.settings = settings
        self.seed = seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Return image uint8 BGR [H, W, 3] of the crop's size and its class index."""
        epoch, position = divmod(number, len(self.split))
        path, class_index = self.split[int(self._order_of(epoch)[position])]
        random = np.random.default_rng([self.seed, epoch, position])
        return torch.from_numpy(random_part(read_image(path), self.settings, random)), class_index

    def _order_of(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:  # kept: shuffling a million numbers takes longer than reading an image
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.split))
        return self._order[1]


class ValidationImages(Dataset[tuple[Tensor, int]]):
    """The centres of a split's images, in their order."""

    def __init__(self, split: ClassificationSplit, settings: CropSection) -> None:
        self.split = split
        self.settings = settings

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Return image uint8 BGR [H, W, 3] of the crop's size and its class index."""
        path, class_index = self.split[number]
        return torch.from_numpy(center_part(read_image(path), self.settings)), class_index


def random_part(image: np.ndarray, settings: CropSection, random: np.random.Generator) -> np.ndarray:
    """Bring a random part of an image to the crop's size, mirrored now and then: uint8 BGR [H, W, 3].

    The part's area and proportion are drawn until it fits into the image; after ten tries it is the largest centred one whose
    proportion is allowed (Szegedy et al., Going Deeper with Convolutions, as torchvision's RandomResizedCrop has it).
    """
    height, width = image.shape[:2]
    for _ in range(CROP_TRIES):
        area = height * width * random.uniform(*settings.area)
        aspect = math.exp(random.uniform(*np.log(settings.aspect)))
        part_width, part_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < part_width <= width and 0 < part_height <= height:
            top = int(random.integers(height - part_height + 1))
            left = int(random.integers(width - part_width + 1))
            part = image[top : top + part_height, left : left + part_width]
            break
    else:
        part = _centered(image, min(max(width / height, settings.aspect[0]), settings.aspect[1]), 1.0)
    part = resize_image(part, settings.size_hw)
    return np.ascontiguousarray(part[:, ::-1] if random.random() < settings.flip else part)


def center_part(image: np.ndarray, settings: CropSection) -> np.ndarray:
    """Bring an image's centre to the crop's size, without changing its proportion: uint8 BGR [H, W, 3]."""
    height, width = settings.size_hw
    return np.ascontiguousarray(resize_image(_centered(image, width / height, settings.center), settings.size_hw))


def _centered(image: np.ndarray, aspect: float, share: float) -> np.ndarray:
    """Cut out the centre of a proportion (width by height), ``share`` of the largest one's sides."""
    height, width = image.shape[:2]
    part_width = max(1, round(share * min(width, height * aspect)))
    part_height = max(1, round(share * min(height, width / aspect)))
    top, left = (height - part_height) // 2, (width - part_width) // 2
    return image[top : top + part_height, left : left + part_width]
