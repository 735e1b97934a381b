"""Training samples in an order that depends on the seed and the sample's number alone.

Sample number k is the same image with the same variations in whichever process, and after whatever interruption, it is
asked for. Exact resume and equal results from several processes follow from that; nothing about the order is saved.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lwseg_ros.datasets import CodedPath, Split, load_split, read_pair
from lwseg_ros.errors import DatasetError
from lwseg_ros.evaluation.machine import cores
from lwseg_ros.imaging.resizing import resize_image, resize_label
from lwseg_training.config.recipe import DatasetSection, Recipe, TrainingSettings
from lwseg_training.data.augmentation import IGNORE, augment, mix_classes


def load_splits(section: DatasetSection, root: Path) -> tuple[Split, Split]:
    """Find what a recipe trains on and what it evaluates on.

    With ``held_out``, the named sequences of the training split are evaluated on and are not trained on. A sequence is the
    part of an image's file name before the first underscore.

    Raises DatasetError where the folder, a split or a sequence is not there.
    """
    train = load_split(section.name, root, section.train_split)
    if not section.held_out:
        return train, load_split(section.name, root, section.validation_split)
    sequences = {sequence_of(image) for image, _ in train.pairs}
    unknown = set(section.held_out) - sequences
    if unknown:
        raise DatasetError(f"no sequence {sorted(unknown)} in {section.train_split}; there are: {sorted(sequences)}")
    held_out = tuple(pair for pair in train.pairs if sequence_of(pair[0]) in section.held_out)
    kept = tuple(pair for pair in train.pairs if sequence_of(pair[0]) not in section.held_out)
    if not kept:
        raise DatasetError(f"holding out {sorted(section.held_out)} leaves nothing to train on")
    return replace(train, pairs=kept), replace(train, pairs=held_out, split=section.evaluated_split)


def sequence_of(image: Path) -> str:
    """Return the recording that an image belongs to: its file name up to the first underscore."""
    return image.name.partition("_")[0]


CACHE_BYTES = 1 << 30
"""Decoded images that a process keeps; of larger data sets the rest is decoded whenever it is asked for."""


class LabelledImages(Dataset[tuple[np.ndarray, np.ndarray]]):
    """A split's pairs, decoded, the first ones kept: image uint8 BGR [H, W, 3], label uint8 [H, W] with 255 where ignored.

    Raises DatasetError for a pair that cannot be read or whose label holds an id that is no class.

    Args:
        split: which pairs.
        size_hw: size to bring image and label to, as `lwseg_ros.segmenter` brings images to a model's; their own by default.
    """

    def __init__(self, split: Split, size_hw: tuple[int, int] | None = None) -> None:
        self.split = split
        self.size_hw = size_hw
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.split.pairs)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self._cache:
            return self._cache[index]
        image, label = read_pair(*self.split.pairs[index])
        if self.split.ignore_id is not None:
            label[label == self.split.ignore_id] = IGNORE
        _check_ids(label, self.split, self.split.pairs[index][1])
        if self.size_hw is not None:
            image, label = resize_image(image, self.size_hw), resize_label(label, self.size_hw)
        if self._cached_bytes + image.nbytes + label.nbytes <= CACHE_BYTES:
            self._cache[index] = image, label
            self._cached_bytes += image.nbytes + label.nbytes
        return image, label


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Varied samples by number: epoch after epoch, each in an order of its own."""

    def __init__(self, images: LabelledImages, recipe: Recipe, total_steps: int) -> None:
        self.images = images
        self.seed = recipe.seed
        self.settings, self.early_settings = recipe.augmentation, recipe.early_augmentation
        # A whole number of steps, so that all images of a batch have one size.
        share = recipe.early.share if recipe.early is not None else 0
        self.early_samples = round(share * total_steps) * recipe.batch_size

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 BGR [H, W, 3] and label uint8 [H, W] of the crop's size."""
        epoch, position = divmod(number, len(self.images))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))
        random = np.random.default_rng([self.seed, epoch, position])
        settings = self.early_settings if number < self.early_samples else self.settings
        image, label = augment(*self.images[order[position]], settings, random)
        if random.random() < settings.class_mix:
            other = int(random.integers(len(self.images)))
            image, label = mix_classes(image, label, *augment(*self.images[other], settings, random), random)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(np.ascontiguousarray(label))


class StepSampler:
    """The sample numbers of each step from ``first_step`` on, for one of ``world_size`` processes."""

    def __init__(self, batch_size: int, first_step: int, last_step: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size % world_size:
            raise DatasetError(f"a batch of {batch_size} cannot be shared out evenly among {world_size} processes")
        self.batch_size = batch_size
        self.steps = range(first_step, last_step)
        self.share = batch_size // world_size
        self.offset = rank * self.share

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = step * self.batch_size + self.offset
            yield list(range(first, first + self.share))


def training_loader(samples: Dataset[Any], sampler: StepSampler, workers: int, pin: bool) -> DataLoader[Any]:
    """Yield image uint8 [n, H, W, 3] and label, one batch a step, prepared ahead by ``workers`` processes."""
    return DataLoader(
        samples,
        batch_sampler=sampler,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=start_worker,
        pin_memory=pin,
    )


def worker_count(recipe: TrainingSettings) -> int:
    """Return how many processes prepare samples: what the recipe says, else one fewer than there are cores, at most 12.

    The cores are those this process may use, shared out among the training processes of this machine.
    """
    if recipe.workers is not None:
        return recipe.workers
    own = cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(12, max(1, own - 1))


def class_frequencies(images: LabelledImages, num_classes: int) -> np.ndarray:
    """Return each class's share of the labelled pixels, float64 [num_classes], summing to 1."""
    counts = np.zeros(256, dtype=np.int64)
    for index in range(len(images)):
        counts += np.bincount(images[index][1].ravel(), minlength=256)
    return counts[:num_classes] / max(1, counts[:num_classes].sum())


def _check_ids(label: np.ndarray, split: Split, path: Path | CodedPath) -> None:
    """Refuse a label, ignored pixels already 255, that holds another id than the classes'; a GPU would only assert."""
    unknown = np.setdiff1d(np.unique(label), [*range(len(split.classes)), IGNORE])
    if unknown.size:
        raise DatasetError(
            f"label {path} holds the ids {unknown.tolist()}; {split.dataset} has the classes 0 to "
            f"{len(split.classes) - 1}, and {split.ignore_id} where a pixel does not count; correct the file"
        )


def start_worker(_worker: int) -> None:
    """Make a process that prepares samples use one core and leave signals to the trainer."""
    # A signal to the whole process group is for the trainer, which needs its workers until it has saved.
    os.setpgid(0, 0)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
