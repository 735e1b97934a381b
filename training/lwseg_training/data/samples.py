"""Training samples in an order that depends on the seed and the sample's number alone.

Sample number k is the same image with the same variations in whichever process, and after whatever interruption, it is
asked for. Exact resume and equal results from several processes follow from that; nothing about the order is saved.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lwseg_ros.errors import DatasetError
from lwseg_ros.evaluation.machine import cores
from lwseg_training.config.recipe import AugmentationSection, Recipe, TrainingSettings
from lwseg_training.data.augmentation import augment, mix_classes
from lwseg_training.data.auxiliary import AuxiliaryImages
from lwseg_training.data.labelled_images import LabelledImages, class_ids
from lwseg_training.data.paste import paste_things

AUXILIARY = 1
"""The stream of random numbers that an auxiliary set's samples are drawn from."""


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Varied samples by number: epoch after epoch, each in an order of its own.

    With an auxiliary set, the last images of each batch are of that, in epochs of their own.
    """

    def __init__(
        self, images: LabelledImages, recipe: Recipe, total_steps: int, auxiliary: AuxiliaryImages | None = None
    ) -> None:
        self.images = images
        self.auxiliary = auxiliary
        self.batch_size, self.auxiliary_batch = recipe.batch_size, recipe.auxiliary_batch if auxiliary else 0
        self.seed = recipe.seed
        self.settings, self.early_settings = recipe.augmentation, recipe.early_augmentation
        # A whole number of steps, so that all images of a batch have one size.
        share = recipe.early.share if recipe.early is not None else 0
        self.early_samples = round(share * total_steps) * recipe.batch_size
        paste = self.settings.paste
        named = paste.classes if paste is not None else ()
        self.thing_classes = class_ids(images.split.classes, named, "augmentation.paste.classes")

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Return image uint8 BGR [H, W, 3] and label uint8 [H, W] of the crop's size.

        With an auxiliary set, labels are int16, as its `training_label` gives them.
        """
        settings = self.early_settings if number < self.early_samples else self.settings
        if self.auxiliary is None:
            return _tensors(*self._sample(self.images, number, settings))
        step, place = divmod(number, self.batch_size)
        own = self.batch_size - self.auxiliary_batch
        if place < own:
            image, label = self._sample(self.images, step * own + place, settings)
            return _tensors(image, label.astype(np.int16))
        return _tensors(*self._sample(self.auxiliary, step * self.auxiliary_batch + place - own, settings, AUXILIARY))

    def _sample(
        self, images: LabelledImages, number: int, settings: AugmentationSection, *stream: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a set's sample of a number, varied; ``stream`` keeps the random numbers of two sets apart."""
        epoch, position = divmod(number, len(images))
        order = np.random.default_rng([self.seed, epoch, *stream]).permutation(len(images))
        random = np.random.default_rng([self.seed, epoch, position, *stream])
        image, label = self._varied(images, int(order[position]), settings, random)
        if random.random() < settings.class_mix:
            other = int(random.integers(len(images)))
            image, label = mix_classes(image, label, *self._varied(images, other, settings, random), random)
        return image, label

    def _varied(
        self, images: LabelledImages, index: int, settings: AugmentationSection, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return an image, with things of the recipe's own data set where it pastes any, and its label as the loss takes it."""
        image, label = images[index]
        if settings.paste is None or random.random() >= settings.paste.probability:
            image, label = augment(image, label, settings, random)
            return image, images.training_label(label)
        donor = self.images[int(random.integers(len(self.images)))]
        label = images.training_label(label)  # first, as of a thing that is pasted the class is certain
        pasted = paste_things(image, label, *donor, self.thing_classes, settings.paste, random)
        return augment(*pasted, settings, random)


def _tensors(image: np.ndarray, label: np.ndarray) -> tuple[Tensor, Tensor]:
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


def start_worker(_worker: int) -> None:
    """Make a process that prepares samples use one core and end when the trainer does, or when that ends it."""
    # Those who end a run may signal all its processes, and the trainer needs its workers until it has saved.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    threading.Thread(target=_end_with_trainer, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _end_with_trainer(trainer: int) -> None:
    """Wait for a SIGTERM of the trainer's own: so it ends workers that are left when it fails. Its death a DataLoader notices."""
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != trainer:
        pass
    os._exit(0)
