"""The thread that alone opens, runs and closes a backend, and that may never return from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from lwseg_ros.segmenter import Segmenter


class BackendThread:
    """Own a segmenter.

    OpenVINO gives the thread that opens it a signal stack, and takes it back when it is closed: by another thread it would be
    taken from under the first, and the next signal would crash the process. And nothing can end a thread that hangs in a
    runtime: it can only be left behind, with the memory that it holds.
    """

    def __init__(self) -> None:
        """Prepare; the thread begins with `open` or `begin_opening`."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="backend")
        self._opening: Future[Segmenter] | None = None
        self._opening_since_s = 0.0
        self._segmenter: Segmenter | None = None
        self._closing: Future[None] | None = None

    def open(self, make: Callable[[], Segmenter], *, meanwhile: Callable[[], None], period_s: float) -> Segmenter:
        """Return the segmenter made, or raise what making it raises; call `meanwhile` once in a period until then."""
        opening = self.begin_opening(make)
        while wait([opening], period_s).not_done:
            meanwhile()
        return opening.result()

    def begin_opening(self, make: Callable[[], Segmenter]) -> Future[Segmenter]:
        """Begin to make the segmenter, which `close` closes, also where it comes about only after that."""

        def keep() -> Segmenter:
            self._segmenter = make()
            return self._segmenter

        self._opening_since_s = time.monotonic()
        self._opening = self._pool.submit(keep)
        return self._opening

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job after those before it."""
        return self._pool.submit(job)

    def close(self, timeout_s: float) -> bool:
        """Close the segmenter and end the thread; False where that has not come about in time, and is left to itself."""
        self._closing = self._pool.submit(self._close)
        closed = not wait([self._closing], timeout_s).not_done
        self._pool.shutdown(wait=closed)
        return closed

    @property
    def opening_s(self) -> float:
        """How long the segmenter has been opening; 0 while it is not."""
        if self._opening is None or self._opening.done():
            return 0.0
        return time.monotonic() - self._opening_since_s

    @property
    def hangs(self) -> bool:
        """Whether `close` left the thread behind and it has not come back since."""
        return self._closing is not None and not self._closing.done()

    def _close(self) -> None:
        if self._segmenter is not None:
            self._segmenter.close()
