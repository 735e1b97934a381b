"""Damage to bytes of any kind, and what may be hoped for afterwards."""

from __future__ import annotations

from enum import Enum, auto

import numpy as np


class Hope(Enum):
    """What a change leaves of an image: all, all or an error, or nothing that can be known."""

    READ = auto()
    READ_OR_REFUSED = auto()
    NONE = auto()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, take out, repeat or insert bytes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not changed:
            break
        at, length = int(rng.integers(len(changed))), int(rng.choice([1, 2, 4, 30, 300]))
        kind = rng.integers(5)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at : at + length] = rng.bytes(min(length, len(changed) - at))
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * int(rng.choice([1, 3, 100]))
        else:
            changed[at:at] = rng.bytes(length)
    return bytes(changed)
