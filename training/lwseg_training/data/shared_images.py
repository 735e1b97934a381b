"""Decoded images in memory that a process shares with those it forks, so that a loader's workers decode each image once."""

from __future__ import annotations

import mmap
import multiprocessing

import numpy as np


class SharedImages:
    """Pairs of image and label by number, as many as there is room for; what is kept stays.

    Memory is taken as it is filled, and given back with the last process that has it. Made before the workers are.

    Args:
        count: how many pairs there may be.
        capacity_bytes: of all pairs together.
    """

    def __init__(self, count: int, capacity_bytes: int) -> None:
        self._lock = multiprocessing.Lock()
        # Anonymous, as a file in /dev/shm has little room in containers, and one on a disk would be written there.
        self._pixels = np.frombuffer(mmap.mmap(-1, max(1, capacity_bytes)), np.uint8)
        rows = np.frombuffer(mmap.mmap(-1, (count + 1) * 4 * 8), np.int64).reshape(-1, 4)
        self._places = rows[:count]  # whether there is a pair, its first byte, height and width
        self._used = rows[count]  # the first value: the first byte that is free

    def get(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the kept image uint8 [H, W, 3] and label uint8 [H, W] of a number, None where there are none."""
        with self._lock:
            kept, first, height, width = self._places[index].tolist()
        return self._views(first, height, width) if kept else None

    def keep(self, index: int, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep an image uint8 [H, W, 3] and its label uint8 [H, W] where there is room; return what is to be used from now on."""
        height, width = label.shape
        with self._lock:
            kept, first, *_ = self._places[index].tolist()
            if not kept:  # another process may have been faster
                first = int(self._used[0])
                if first + image.nbytes + label.nbytes > self._pixels.nbytes:
                    return image, label
                for own, given in zip(self._views(first, height, width), (image, label), strict=True):
                    own[...] = given
                self._used[0] = first + image.nbytes + label.nbytes
                self._places[index] = 1, first, height, width
        return self._views(first, height, width)

    def _views(self, first: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        middle = first + 3 * height * width
        image = self._pixels[first:middle].reshape(height, width, 3)
        return image, self._pixels[middle : middle + height * width].reshape(height, width)
