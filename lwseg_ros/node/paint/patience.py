"""How long a camera that takes no part in painting is waited for."""

from __future__ import annotations

import math


class Patience:
    """Whether one camera is worth waiting for, so that sweeps of the others are not late for one that cannot take part.

    It is until sweeps have missed it for a while; from then on one sweep in such a while waits for it, until one has it again.
    Times are of a steady clock, in seconds.
    """

    def __init__(self) -> None:
        """Begin with patience."""
        self._missed_since_s: float | None = None
        self._awaited_s = -math.inf

    def lasts(self, now_s: float, while_s: float) -> bool:
        """Tell whether a sweep is to wait for the camera."""
        since_s = self._missed_since_s
        return since_s is None or now_s - since_s <= while_s or now_s - self._awaited_s > while_s

    def tell(self, now_s: float, *, was_awaited: bool, took_part: bool) -> None:
        """Take in what became of the camera's part in a sweep."""
        if was_awaited:
            self._awaited_s = now_s
        if took_part:
            self._missed_since_s = None
        elif self._missed_since_s is None:
            self._missed_since_s = now_s
