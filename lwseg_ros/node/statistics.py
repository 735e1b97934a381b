"""Counts, rates and latencies of one input's frames, images or sweeps. Every one that came in is accounted for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lwseg_ros.evaluation.percentiles import percentiles

# rate_limited: more than `max_rate_hz`. superseded: a newer frame came before this one was taken. stale: older than
# `max_age_ms`. bad: not a usable image. error: the backend failed. inactive: the node was deactivated while the frame waited.
DROP_CAUSES = ("rate_limited", "superseded", "stale", "bad", "error", "inactive")

WINDOW_S = 10.0


@dataclass(frozen=True)
class FrameSnapshot:
    """One input's figures at one moment; `received` = `answered` + all `dropped` + those still on their way."""

    received: int
    answered: int
    """Frames whose labels were published, or sweeps that were painted."""
    dropped: Mapping[str, int]
    rate_in_hz: float
    rate_out_hz: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    silence_s: float
    """Seconds since the last frame came in, or since counting began."""
    lost: int
    """Frames that the middleware reports as lost on their way; not among those received."""
    unanswered_s: float = 0.0
    """Seconds since the first awaited frame came in that no label has followed; 0 where a label was the last to happen."""


class FrameStatistics:
    """Count frames and keep the last ten seconds' rates and latencies. Safe to use from several threads.

    Times are of a steady clock, in seconds.
    """

    def __init__(self, started_s: float, causes: Sequence[str] = DROP_CAUSES) -> None:
        self._lock = threading.Lock()
        self._started_s = started_s
        self._last_arrival_s = started_s
        self._unanswered_since_s: float | None = None
        self._received = 0
        self._answered = 0
        self._dropped = dict.fromkeys(causes, 0)
        self._lost = 0
        self._arrivals_s: deque[float] = deque()
        self._outputs: deque[tuple[float, float]] = deque()

    def restart(self, now_s: float) -> None:
        """Begin new windows, as after a pause; the counts stay."""
        with self._lock:
            self._started_s = self._last_arrival_s = now_s
            self._unanswered_since_s = None
            self._arrivals_s.clear()
            self._outputs.clear()

    def add_arrival(self, now_s: float, *, awaited: bool = True) -> None:
        """Count a frame that came in; awaited: whether its label is expected."""
        with self._lock:
            self._received += 1
            self._last_arrival_s = now_s
            if awaited and self._unanswered_since_s is None:
                self._unanswered_since_s = now_s
            self._arrivals_s.append(now_s)
            _forget(self._arrivals_s, now_s)

    def add_output(self, now_s: float, latency_ms: float) -> None:
        """Count a frame whose label, or painted points, were published."""
        with self._lock:
            self._answered += 1
            self._unanswered_since_s = None
            self._outputs.append((now_s, latency_ms))
            while self._outputs[0][0] < now_s - WINDOW_S:
                self._outputs.popleft()

    def add_drop(self, cause: str) -> None:
        """Count a frame that was dropped for one of the causes."""
        with self._lock:
            self._dropped[cause] += 1

    def add_lost(self, count: int) -> None:
        """Count frames that were lost on their way."""
        with self._lock:
            self._lost += count

    def snapshot(self, now_s: float) -> FrameSnapshot:
        """Take all figures at one moment."""
        with self._lock:
            window_s = max(1.0, min(WINDOW_S, now_s - self._started_s))
            recent = [(time_s, latency_ms) for time_s, latency_ms in self._outputs if time_s >= now_s - window_s]
            latency = percentiles([latency_ms for _, latency_ms in recent], (50, 99))
            return FrameSnapshot(
                received=self._received,
                answered=self._answered,
                dropped=MappingProxyType(dict(self._dropped)),
                rate_in_hz=sum(time_s >= now_s - window_s for time_s in self._arrivals_s) / window_s,
                rate_out_hz=len(recent) / window_s,
                latency_p50_ms=latency["p50"],
                latency_p99_ms=latency["p99"],
                silence_s=now_s - self._last_arrival_s,
                lost=self._lost,
                unanswered_s=0.0 if self._unanswered_since_s is None else now_s - self._unanswered_since_s,
            )


def _forget(times_s: deque[float], now_s: float) -> None:
    while times_s[0] < now_s - WINDOW_S:
        times_s.popleft()
