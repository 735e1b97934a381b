"""What SIGINT and SIGTERM do before and while the node runs. Imports nothing that takes time."""

from __future__ import annotations

import os
import queue
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STDIN = 0


def end_at_once_on_signals() -> None:
    """End the process with exit code 0 on a signal, as long as there is nothing to end in order."""
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: os._exit(0))


def queue_signals() -> queue.SimpleQueue[int]:
    """Put the exit code 0 into a queue on every signal from now on; return the queue."""
    exit_codes: queue.SimpleQueue[int] = queue.SimpleQueue()  # the one queue that a signal handler may use
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: exit_codes.put(0))
    return exit_codes


def ignore_signals() -> None:
    """Let no signal turn the exit code of a process that is about to end into a kill."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_input() -> None:
    """Signal SIGTERM to this process once its standard input ends: who started it and holds the other end is gone.

    A process that is killed closes its pipes, whichever of its threads made them, and whatever else it leaves undone.
    """

    def wait() -> None:
        while os.read(STDIN, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="input", daemon=True).start()
