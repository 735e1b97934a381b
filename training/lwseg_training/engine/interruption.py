"""An end in order: the step is finished and the run saved before the process goes."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopRequest:
    """Whether SIGTERM or SIGINT came while the context was entered; neither ends the process in the meantime."""

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> StopRequest:
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._handlers = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True
