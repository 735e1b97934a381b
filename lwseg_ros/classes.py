"""The classes of a data set or a model, and the colours they are drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lwseg_ros.errors import ModelFileError

MAX_CLASS_ID = 254  # 255 is what label images mean by "no class"


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    id: its value in label images, 0..254. name: as in the data set. color_rgb: 0..255 each, RGB.
    """

    id: int
    name: str
    color_rgb: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Check every field; raises ModelFileError."""
        if not is_int(self.id, 0, MAX_CLASS_ID):
            raise ModelFileError(f"manifest field 'classes': class id {self.id!r} is not in 0..{MAX_CLASS_ID}")
        if not (isinstance(self.name, str) and self.name.splitlines() == [self.name]):
            raise ModelFileError(
                f"manifest field 'classes': class {self.id} has name {self.name!r}, expected a text of one line"
            )
        if not (is_triple(self.color_rgb) and all(is_int(level, 0, 255) for level in self.color_rgb)):
            raise ModelFileError(
                f"manifest field 'classes': class {self.name!r} has color_rgb {self.color_rgb!r}, "
                "expected three levels in 0..255"
            )


def palette_bgr(classes: Iterable[ClassInfo]) -> npt.NDArray[np.uint8]:
    """Return the classes' colours as uint8 [256, 3], BGR, row = class id; black where there is no class."""
    palette = np.zeros((256, 3), np.uint8)
    for info in classes:
        palette[info.id] = info.color_rgb[::-1]
    return palette


def number_classes(names: Sequence[str], colors_rgb: Iterable[tuple[int, int, int]]) -> tuple[ClassInfo, ...]:
    """Give names and colours the ids 0 to C - 1."""
    return tuple(ClassInfo(i, name, color) for i, (name, color) in enumerate(zip(names, colors_rgb, strict=True)))


def generated_colors(count: int, first: int = 1) -> list[tuple[int, int, int]]:
    """Return ``count`` colours of PASCAL VOC from number ``first`` on, RGB; number 0 is black."""
    return [_voc_color(number) for number in range(first, first + count)]


def _voc_color(number: int) -> tuple[int, int, int]:
    """Spread the bits of a number over the three channels, the lowest first and to the highest bits."""
    red, green, blue = (sum((number >> (3 * i + c) & 1) << (7 - i) for i in range(8)) for c in range(3))
    return red, green, blue


def is_int(value: Any, low: int, high: int) -> bool:
    """Whether a value of unknown type is a whole number in low..high; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_triple(value: Any) -> bool:
    """Whether a value of unknown type is a tuple of three."""
    return isinstance(value, tuple) and len(value) == 3
