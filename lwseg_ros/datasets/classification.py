"""Images with one class each: a split of a data set for classification, and what listing one takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwseg_ros.errors import DatasetError


@dataclass(frozen=True, eq=False)
class ClassificationSplit:
    """One split of a data set for classification: pairs (image, class index), by ``split[number]``.

    A million images are kept as one block of memory, which worker processes share; as Path objects they would take a
    gigabyte in each: ``names`` are bytes [N], paths under ``root`` as the file system spells them, ``class_indices`` int64 [N].
    """

    dataset: str  # such as `imagenet1k`
    split: str  # such as `val`
    class_names: tuple[str, ...]  # in the order of their indices
    root: Path
    names: np.ndarray
    class_indices: np.ndarray

    @classmethod
    def of(
        cls, dataset: str, split: str, class_names: Sequence[str], root: Path, pairs: Iterable[tuple[str, int]]
    ) -> ClassificationSplit:
        """Build a split of pairs (path under ``root``, class index), kept in their order."""
        names, indices = zip(*pairs, strict=True)
        encoded = np.array([os.fsencode(name) for name in names])
        return cls(dataset, split, tuple(class_names), root, encoded, np.array(indices, np.int64))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[Path, int]:
        """Return the image's path and its class index."""
        return self.root / os.fsdecode(bytes(self.names[number])), int(self.class_indices[number])


def folder_names(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder; hidden ones do not count."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def image_names(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the sorted names of a folder's images, which end in one of ``suffixes``, in small letters or large."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(suffixes) and not entry.name.startswith(".") and entry.is_file()
        )


def pairs_of_classes(
    folder: Path, class_names: Sequence[str], suffixes: tuple[str, ...], tree: str
) -> list[tuple[str, int]]:
    """List (CLASS/IMAGE, class index) of class folders; raises DatasetError naming the first that holds no image."""
    pairs: list[tuple[str, int]] = []
    empty: list[Path] = []
    for index, name in enumerate(class_names):
        images = image_names(folder / name, suffixes)
        if not images:
            empty.append(folder / name)
        pairs += [(f"{name}/{image}", index) for image in images]
    if empty:
        more = f" and neither do {len(empty) - 1} more" if len(empty) > 1 else ""
        raise DatasetError(f"{empty[0]} holds no image{more}; expected\n{tree}")
    return pairs
