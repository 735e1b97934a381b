"""What /proc says of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from lwseg_ros.replay.live.usage import Usage, read_usage

HUNGRY = """
import threading, sys
block = bytearray(50_000_000)
for start in range(0, len(block), 4096): block[start] = 1
files = [open("/dev/null") for _ in range(7)]
for _ in range(3): threading.Thread(target=threading.Event().wait, daemon=True).start()
while True: pass
"""
IDLE = "import time; time.sleep(600)"


def wait_for(pid: int, condition: Callable[[Usage], bool]) -> Usage:
    deadline_s = time.monotonic() + 120
    while True:
        usage = read_usage(pid)
        assert usage is not None
        if condition(usage):
            return usage
        assert time.monotonic() < deadline_s, usage
        time.sleep(0.05)


def test_memory_threads_handles_and_cpu_are_counted() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", IDLE]) as idle,
        subprocess.Popen([sys.executable, "-c", HUNGRY]) as hungry,
    ):
        try:
            least = wait_for(idle.pid, lambda usage: usage.rss_mb > 5)
            most = wait_for(hungry.pid, lambda usage: usage.threads == 4 and usage.cpu_s > 0.2)
            least = read_usage(idle.pid) or least
        finally:
            idle.kill()
            hungry.kill()
    assert least.threads == 1
    assert most.handles - least.handles == 7
    assert 49 < most.rss_mb - least.rss_mb < 60


def test_a_process_that_has_ended_uses_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert read_usage(process.pid) is None  # nobody has asked for its exit code yet
    process.wait()
    assert read_usage(process.pid) is None


def test_a_name_with_spaces_and_parentheses_is_read_over() -> None:
    rename = "open('/proc/self/comm', 'w').write('a) Z 1 (b 2'); print(flush=True); import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", rename], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            usage = read_usage(process.pid)
        finally:
            process.kill()
    assert usage is not None
    assert usage.threads == 1
