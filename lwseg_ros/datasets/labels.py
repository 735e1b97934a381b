"""What the values of a stored label mean: class ids, or what does not count. Every data set decodes here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lwseg_ros.classes import ClassInfo, number_classes
from lwseg_ros.errors import DatasetError

IGNORE_ID = 255  # of the data sets whose files have no ignored id of their own

# A published label may hold a few stray colours, as one of CamVid's does; a file full of them is another file.
MAX_STRAY_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class IdCode:
    """Labels that are stored as one number a pixel."""

    ids: Mapping[int, int]  # the class id, or the ignored id, of every number in 0..255 that may be stored

    def decode(self, stored: np.ndarray, path: Path | str) -> np.ndarray:
        """Return uint8 [H, W] ids for stored uint8 [H, W] numbers; raises DatasetError for another image or number."""
        check_grey(stored, path)
        counts = np.bincount(stored.ravel(), minlength=256)
        unknown = [value for value in np.flatnonzero(counts).tolist() if value not in self.ids]
        if unknown:
            raise DatasetError(
                f"label {path} holds the values {unknown}; accepted are {_ranges(self.ids)}; correct or replace the file"
            )
        return np.take(self._table, stored)

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8]:
        table = np.zeros(256, np.uint8)
        for value, class_id in self.ids.items():
            table[value] = class_id
        return table


@dataclass(frozen=True, eq=False)
class ColorCode:
    """Labels that are stored as one colour a pixel."""

    ids: Mapping[tuple[int, int, int], int]  # the class id, or the ignored id, of every RGB colour that may be stored
    ignore_id: int  # of stray colours, of which a label may hold one in a hundred pixels

    def decode(self, stored: np.ndarray, path: Path | str) -> np.ndarray:
        """Return uint8 [H, W] ids for stored uint8 BGR [H, W, 3]; raises DatasetError where too many colours are unknown."""
        known, ids = self._table
        packed, position, stray = self._find(stored)
        if stray.mean() > MAX_STRAY_SHARE:
            color = int(packed[stray][0])
            raise DatasetError(
                f"label {path}: {stray.mean():.0%} of its pixels have a colour that no class has, such as RGB "
                f"({color >> 16}, {color >> 8 & 255}, {color & 255}); accepted are the {len(known)} published colours, "
                f"and others on {MAX_STRAY_SHARE:.0%}; replace the file"
            )
        return np.where(stray, np.uint8(self.ignore_id), ids[position])

    def num_stray(self, stored: np.ndarray) -> int:
        """Count the pixels of stored uint8 BGR [H, W, 3] whose colour no class has."""
        return int(self._find(stored)[2].sum())

    def _find(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each pixel's colour in 24 bits, its place in the table, and whether it is missing there."""
        blue, green, red = (stored[..., channel].astype(np.int32) for channel in range(3))
        packed = red << 16 | green << 8 | blue
        known, _ = self._table
        position = np.searchsorted(known, packed).clip(max=len(known) - 1)
        return packed, position, known[position] != packed

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        packed = sorted((red << 16 | green << 8 | blue, class_id) for (red, green, blue), class_id in self.ids.items())
        return np.array([key for key, _ in packed], np.int32), np.array([value for _, value in packed], np.uint8)


@dataclass(frozen=True, eq=False)
class MatlabCode:
    """Labels that are stored as one number a pixel in a variable of a MATLAB file."""

    variable: str
    ids: Mapping[int, int]  # the class id, or the ignored id, of every number from 0 on that may be stored

    def decode(self, stored: np.ndarray, path: Path) -> np.ndarray:
        """Return uint8 [H, W] ids for stored numbers [H, W]; raises DatasetError for another array or number."""
        numbers = stored.astype(np.uint16) if stored.ndim == 2 and stored.dtype.kind in "uif" else None
        if numbers is None or not np.array_equal(numbers, stored):
            raise DatasetError(
                f"label {path}: {self.variable} is {stored.dtype} {stored.shape}; expected are whole numbers of 16 bits [H, W]"
            )
        unknown = [value for value in np.flatnonzero(np.bincount(numbers.ravel())).tolist() if value not in self.ids]
        if unknown:
            raise DatasetError(
                f"label {path} holds the values {unknown}; accepted are {_ranges(self.ids)}; correct or replace the file"
            )
        return np.take(self._table, numbers)

    @cached_property
    def _table(self) -> npt.NDArray[np.uint8]:
        table = np.zeros(1 << 16, np.uint8)
        for value, class_id in self.ids.items():
            table[value] = class_id
        return table


LabelCode = IdCode | ColorCode | MatlabCode


def listed(text: str) -> list[str]:
    """Split a list at its commas, whatever the lines it stands in."""
    return [" ".join(item.split()) for item in text.split(",")]


def named_colors(text: str) -> tuple[ClassInfo, ...]:
    """Read classes from a list of `name red green blue`, in the order of their ids."""
    entries = [item.rsplit(maxsplit=3) for item in listed(text)]
    return number_classes([name for name, *_ in entries], [(int(r), int(g), int(b)) for _, r, g, b in entries])


@dataclass(frozen=True)
class CodedPath:
    """A label file and what its values mean; `read_pair` takes it in place of a plain path."""

    path: Path
    code: LabelCode

    def __str__(self) -> str:
        return str(self.path)


def check_grey(stored: np.ndarray, path: Path | str) -> None:
    """Raise DatasetError unless a stored label is uint8 [H, W]."""
    if stored.ndim != 2 or stored.dtype != np.uint8:
        raise DatasetError(
            f"label {path} is {stored.dtype} {stored.shape}; it has to be 8-bit grey with one class id a pixel "
            "(a coloured label has to be converted to ids first)"
        )


def _ranges(values: Iterable[int]) -> str:
    """Write numbers as ranges, such as `0 to 18, 255`."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{first} to {last}" if first < last else f"{first}" for first, last in runs)
