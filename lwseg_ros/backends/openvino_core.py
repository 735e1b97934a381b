"""OpenVINO's Core, one for the whole process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino

_lock = threading.Lock()
_cores: list[openvino.Core] = []


def shared_core() -> openvino.Core:
    """Return the process's Core, made when it is first asked for and never given up; from any thread.

    On processors with AMX each Core's CPU plugin gives its thread a stack for signals, and one that is destroyed puts the one
    before in its place, whether that still exists or not: the next signal, such as SIGTERM, then ends the process by SIGSEGV.
    """
    import openvino

    with _lock:
        if not _cores:
            _cores.append(openvino.Core())
        return _cores[0]
