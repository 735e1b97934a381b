"""Let some of a stream's frames through, so that their mean rate keeps to a limit."""

from __future__ import annotations

import math

EARLY = 0.25  # of a period: so much a frame may come before its turn, since cameras jitter


class RateLimit:
    """Frames come unevenly, so the next one's turn counts from the last turn, not from the last frame."""

    def __init__(self) -> None:
        """Let the first frame through."""
        self._due_s = -math.inf

    def lets_through(self, now_s: float, rate_hz: float) -> bool:
        """Tell whether it is a frame's turn; now_s is a steady clock, rate_hz the limit as of now, 0 for none."""
        if not rate_hz:
            return True
        period_s = 1 / rate_hz
        self._due_s = min(self._due_s, now_s + (1 + EARLY) * period_s)  # where the limit was lower before
        if now_s < self._due_s - EARLY * period_s:
            return False
        behind = now_s - self._due_s >= period_s  # after a pause; what was missed is not made up for
        self._due_s = (now_s if behind else self._due_s) + period_s
        return True
