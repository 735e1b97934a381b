"""Two processes of one run, side by side as torchrun starts them, without the seconds that torchrun takes to start itself."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def two_processes(command: Sequence[str], **more: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a command as process 0 and process 1 of a run, one thread each, with ``more`` in their environment.

    Their stderr is to be read; those that still run at the end of the block are killed.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            command,
            env={**os.environ, **meeting, **more, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        yield runs
    finally:
        for run in runs:
            run.kill()
            run.wait()


def statuses_and_errors(runs: Sequence[subprocess.Popen[str]], timeout_s: float) -> tuple[list[int], list[str]]:
    """Wait for the processes; return the exit status and the stderr of each."""
    errors = [run.communicate(timeout=timeout_s)[1] for run in runs]
    return [run.returncode for run in runs], errors
