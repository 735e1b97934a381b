"""A data set's labelled images, decoded, with one value for what is ignored."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets import TRAINED_ON, CodedPath, Split, load_split, read_pair
from lwseg_ros.errors import DatasetError, RecipeError
from lwseg_ros.imaging.resizing import resize_image, resize_label
from lwseg_training.config.recipe import DatasetSection
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.shared_images import SharedImages


def load_splits(section: DatasetSection, root: Path) -> tuple[Split, Split]:
    """Find what a recipe trains on and what it evaluates on.

    Several training splits are one, each image once. With ``held_out``, the named sequences of it are evaluated on and are not
    trained on. A sequence is the part of an image's file name before the first underscore. A validation split of which images are
    trained on says so in its name.

    Raises DatasetError where the folder, a split or a sequence is not there.
    """
    train = _union([load_split(section.name, root, split) for split in section.train_splits])
    if not section.held_out:
        validation = load_split(section.name, root, section.validation_split)
        # By the images: of a folder's splits one may hold another.
        seen = TRAINED_ON if {i for i, _ in train.pairs} & {i for i, _ in validation.pairs} else ""
        return train, replace(validation, split=validation.split + seen)
    sequences = {sequence_of(image) for image, _ in train.pairs}
    unknown = set(section.held_out) - sequences
    if unknown:
        raise DatasetError(f"no sequence {sorted(unknown)} in {train.split}; there are: {sorted(sequences)}")
    held_out = tuple(pair for pair in train.pairs if sequence_of(pair[0]) in section.held_out)
    kept = tuple(pair for pair in train.pairs if sequence_of(pair[0]) not in section.held_out)
    if not kept:
        raise DatasetError(f"holding out {sorted(section.held_out)} leaves nothing to train on")
    return replace(train, pairs=kept), replace(train, pairs=held_out, split=section.evaluated_split)


def _union(splits: Sequence[Split]) -> Split:
    """Join splits of one data set, in their order."""
    pairs = {image: (image, label) for split in splits for image, label in split.pairs}
    return replace(splits[0], split=" + ".join(split.split for split in splits), pairs=tuple(pairs.values()))


def class_ids(classes: Sequence[ClassInfo], names: Collection[str], named_in: str) -> tuple[int, ...]:
    """Return the ids of the classes of these names; raises RecipeError that says where a name which is none was given."""
    ids = {info.name: info.id for info in classes}
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise RecipeError(f"{named_in}: no class {unknown[0]!r}; there are: {', '.join(ids)}")
    return tuple(ids[name] for name in names)


def sequence_of(image: Path) -> str:
    """Return the recording that an image belongs to: its file name up to the first underscore."""
    return image.name.partition("_")[0]


CACHE_BYTES = 1 << 30
"""Decoded images that a process and those it forks keep together; the rest of a larger set is decoded whenever it is asked for."""


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
        self._cache = SharedImages(len(split.pairs), CACHE_BYTES)

    def __len__(self) -> int:
        return len(self.split.pairs)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        image, label = read_pair(*self.split.pairs[index])
        if self.split.ignore_id is not None:
            label[label == self.split.ignore_id] = IGNORE
        _check_ids(label, self.split, self.split.pairs[index][1])
        if self.size_hw is not None:
            image, label = resize_image(image, self.size_hw), resize_label(label, self.size_hw)
        return self._cache.keep(index, image, label)

    def training_label(self, label: np.ndarray) -> np.ndarray:
        """Turn a label [H, W] of this set into what the loss takes; here it is that already."""
        return label


def _check_ids(label: np.ndarray, split: Split, path: Path | CodedPath) -> None:
    """Refuse a label, ignored pixels already 255, that holds another id than the classes'; a GPU would only assert."""
    unknown = np.setdiff1d(np.unique(label), [*range(len(split.classes)), IGNORE])
    if unknown.size:
        raise DatasetError(
            f"label {path} holds the ids {unknown.tolist()}; {split.dataset} has the classes 0 to "
            f"{len(split.classes) - 1}, and {split.ignore_id} where a pixel does not count; correct the file"
        )
