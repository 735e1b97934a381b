"""Inputs of which each does something else that the runner has to notice; no kind of `make fuzz`."""

from __future__ import annotations

import os
import signal
import time

import numpy as np


def check(seed: int) -> str:
    """Behave, or do one of the things that must not happen."""
    match seed:
        case 1:
            raise KeyError("an error that nobody documented")
        case 2:
            np.ones(1 << 31, np.uint8)
        case 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 4:
            began = time.process_time()
            while time.process_time() - began < 2:
                pass
        case 5:
            raise AssertionError("a wrong answer")
    return "fine"
