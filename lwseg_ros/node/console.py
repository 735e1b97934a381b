"""Standard output and error, where nobody may be reading."""

from __future__ import annotations

import contextlib
import os
import stat

STREAMS = (1, 2)


def never_wait_for_readers() -> None:
    """Let text be lost, rather than the process stand still, where the other end of a pipe or terminal reads no more.

    rclpy logs with the interpreter locked, so that a launcher that is stopped, or Ctrl-S, would hold every thread, and no
    signal would end the process. Each stream is opened anew: whoever else writes to it goes on waiting as before.
    """
    for stream in STREAMS:
        with contextlib.suppress(OSError):  # closed, its reader gone, or another user's terminal
            if stat.S_ISFIFO(os.fstat(stream).st_mode) or os.isatty(stream):
                anew = os.open(f"/proc/self/fd/{stream}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                os.dup2(anew, stream)
                os.close(anew)
