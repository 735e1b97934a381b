"""What is known of an engine that is being built, which takes minutes, while the node does nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOG_PERIOD_S = 10.0
# A build that has been silent for longer may hang.
PATIENCE_S = 120.0


class EngineBuild:
    """Told by the thread that builds (`report` is a `backends.base.BuildProgress`), asked by the executor's.

    The first step is logged, and one in ten seconds after it.
    """

    def __init__(self, log: Callable[[str], object], clock_s: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is being built yet."""
        self._log = log
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self._reported_s = 0.0
        self._logged_s = 0.0
        self._step = ""
        self._interrupted = False

    def report(self, phase: str, step: int, steps: int) -> bool:
        """Note that a step of a phase is done; return False where the build is to be given up."""
        with self._lock:
            now_s = self._reported_s = self._clock_s()
            self._step = f"{phase}, {step} of {steps}"
            first = self._began_s is None
            if self._began_s is None:
                self._began_s = now_s
            due = first or now_s - self._logged_s >= LOG_PERIOD_S
            if due:
                self._logged_s = now_s
        if first:
            self._log("building the TensorRT engine, once, which takes minutes; `lwseg build` builds it ahead")
        elif due:
            self._log(self.text)
        return not self._interrupted

    def interrupt(self) -> None:
        """Give the build up at its next step; any later one too."""
        self._interrupted = True

    def finish(self) -> None:
        """Note that nothing is being built any more."""
        with self._lock:
            self._began_s = None

    @property
    def text(self) -> str:
        """How far it is; empty where nothing is being built, or where it has not been heard of for two minutes."""
        with self._lock:
            now_s = self._clock_s()
            if self._began_s is None or now_s - self._reported_s > PATIENCE_S:
                return ""
            return f"the TensorRT engine has been building for {now_s - self._began_s:.0f} s: {self._step}"
