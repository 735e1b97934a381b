"""What a process uses, from /proc."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """A process at one moment: resident memory in 10^6 bytes, threads, open file handles, and CPU seconds so far."""

    rss_mb: float
    threads: int
    handles: int
    cpu_s: float


def read_usage(pid: int) -> Usage | None:
    """Read what a process of this user uses; None once it has ended."""
    folder = Path("/proc") / str(pid)
    try:
        # counted page by page; what stat and statm say lags behind by some pages for each core
        resident = re.search(r"^Rss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(encoding="utf-8"), re.MULTILINE)
        stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        handles = sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return None
    if resident is None:
        return None
    # proc_pid_stat(5), after the second field: the name in parentheses, which may hold anything
    fields = stat.rpartition(")")[2].split()
    user_ticks, system_ticks, threads = (int(fields[index]) for index in (11, 12, 17))
    return Usage(int(resident[1]) * 1024 / 1e6, threads, handles, (user_ticks + system_ticks) / _TICKS_PER_S)
