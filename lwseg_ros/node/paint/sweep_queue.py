"""Sweeps on their way to the painter, and the images that they wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lwseg_ros.node.paint.classes import LabelClasses
from lwseg_ros.painting.matching import CameraHistory

# More than a lidar of 20 Hz sends while its first sweep waits, and those of half a million points of 40 bytes.
DEPTH, MAX_BYTES = 12, 256 << 20


@dataclass(frozen=True)
class Sweep:
    """A PointCloud2 as it came in, and when, on a steady clock."""

    message: Any
    arrival_s: float


class SweepQueue:
    """Sweeps in their order, and each camera's history beside them; whoever changes either does it `with queue.changed`."""

    def __init__(self, cameras: Iterable[str], now_s: float) -> None:
        """Begin empty, at a time on a steady clock."""
        self.changed = threading.Condition()
        self.histories = {camera: CameraHistory() for camera in cameras}
        self.last_image_s = dict.fromkeys(self.histories, now_s)
        """When each camera's last image came, or the queue began."""
        self.classes: LabelClasses | None = None
        self.is_closed = False
        self._sweeps: deque[Sweep] = deque()

    def put(self, sweep: Sweep) -> int:
        """Leave a sweep; return how many are dropped for it; once the queue is closed, that is the sweep itself."""
        with self.changed:
            if self.is_closed:
                return 1
            before = len(self._sweeps)
            num_bytes = sum(len(one.message.data) for one in (*self._sweeps, sweep))
            while self._sweeps and (len(self._sweeps) == DEPTH or num_bytes > MAX_BYTES):
                num_bytes -= len(self._sweeps.popleft().message.data)
            dropped = before - len(self._sweeps)
            self._sweeps.append(sweep)
            self.changed.notify_all()
            return dropped

    def take(self) -> Sweep | None:
        """Wait for a sweep and take it; None once the queue is closed."""
        with self.changed:
            self.changed.wait_for(lambda: self._sweeps or self.is_closed)
            return None if self.is_closed else self._sweeps.popleft()

    @property
    def others_wait(self) -> bool:
        """Whether there is a sweep to take."""
        return bool(self._sweeps)

    def begin_anew(self) -> int:
        """Let go of sweeps and images, since time begins anew; return how many sweeps nobody took."""
        with self.changed:
            for history in self.histories.values():
                history.clear()
            return self._drop_all()

    def close(self) -> int:
        """Let nobody wait any more; return how many sweeps nobody took."""
        with self.changed:
            self.is_closed = True
            return self._drop_all()

    def _drop_all(self) -> int:
        left = len(self._sweeps)
        self._sweeps.clear()
        self.changed.notify_all()
        return left
