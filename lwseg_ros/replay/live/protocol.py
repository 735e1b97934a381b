"""What whoever runs a live node and the processes around it say to each other: commands in, events in JSON out.

A process gets its configuration as a JSON file and its commands on standard input, whose end is the signal to stop; so
none outlives the process that started it, even where that is killed; the node does the same with `--end-with-input`. A
process tells its events on standard output, one line of JSON each.
"""

from __future__ import annotations

import contextlib
import json
import math
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_config() -> dict[str, Any]:
    """Read this process's configuration: the JSON file that its command line names."""
    config: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return config


def emit(**event: Any) -> None:
    """Write one event to standard output."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def parse_event(line: str) -> dict[str, Any] | None:
    """Read a line of a process's output; None where it is no event: libraries may print to standard output too."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None


class InputEndedError(Exception):
    """Standard input ended: whoever started this process is gone or has had enough."""


class Commands:
    """Lines of standard input, whose end interrupts every wait."""

    def __init__(self, on_end: Callable[[], object] = lambda: None) -> None:
        """Start to read; on_end is called, in the reading thread, once the input has ended."""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._on_end = on_end
        # a daemon, because a read from a pipe cannot be interrupted; it holds nothing that needs care at exit
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the input has ended."""
        return self._ended.is_set()

    def next(self, timeout_s: float = math.inf) -> str | None:
        """Wait for a line; None when none came in time. Raises InputEndedError at the end."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = deadline_s - time.monotonic()
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=max(0.0, min(0.1, left_s)))
            if self.ended:
                raise InputEndedError
            if time.monotonic() >= deadline_s:
                return None

    def sleep(self, seconds: float) -> None:
        """Wait for some time; raises InputEndedError at the end."""
        if self._ended.wait(max(0.0, seconds)):
            raise InputEndedError

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line.strip())
        self._ended.set()
        self._on_end()
