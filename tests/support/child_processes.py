"""The processes that a test's code has started."""

from __future__ import annotations

import os
from pathlib import Path


def children(parent: int | None = None) -> dict[int, str]:
    """List the running children of a process, by default this one, as {pid: command line}."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        state, parent_pid = status.rpartition(")")[2].split()[:2]
        if int(parent_pid) == (parent or os.getpid()) and state != "Z":
            found[int(folder.name)] = command.replace(b"\0", b" ").decode()
    return found
