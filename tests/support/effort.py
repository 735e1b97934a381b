"""Whether something is refused cheaply: its processor time beside that of a known piece of work, on any machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

ATTEMPTS = 5
"""A busy machine makes one of them look dear, not all."""


def is_cheap(action: Callable[[], object], references: float = 20) -> bool:
    """Whether an action takes less processor time than so many references, each about a twentieth of a second, at best."""
    return any(_thread_s(action) < references * _thread_s(_reference) for _ in range(ATTEMPTS))


def _reference() -> None:
    sum(number * number for number in range(1_000_000))


def _thread_s(action: Callable[[], object]) -> float:
    """Processor time of this thread alone: other threads of a test process have work of their own.

    Without garbage collection, which walks over all that other tests left behind, as often as an action makes objects.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        began_s = time.thread_time()
        action()
        return time.thread_time() - began_s
    finally:
        if was_enabled:
            gc.enable()
