"""What this machine could do at best, measured in the same run: copying bytes, and multiplying and adding."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.inference import peak_multiply_adds_per_s

MAX_COPY_S = 0.2


def copy_s(num_bytes: int) -> float:
    """Return the least seconds that reading and writing so many bytes once takes, in one thread, in caches as warm as they get."""
    if not num_bytes:
        return 0.0
    source, target = np.ones(num_bytes, np.uint8), np.zeros(num_bytes, np.uint8)
    best, end = float("inf"), time.perf_counter() + MAX_COPY_S
    while time.perf_counter() < end:
        started = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - started)
    return best


def lowest_precision(precision: str) -> str:
    """Return the arithmetic that bounds a backend's: of a mix the faster one."""
    return precision.partition("+")[0]


def peak(precision: str) -> float:
    """Return the highest rate of multiply-adds a second in "fp32", "bf16" or "int8", by all threads of PyTorch (oneDNN)."""
    if precision != "int8":
        return peak_multiply_adds_per_s({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    size = 2048
    first, second = (torch.randint(-127, 128, (size, size), dtype=torch.int8) for _ in range(2))
    best, end = 0.0, time.perf_counter() + 1.0
    torch._int_mm(first, second)
    while time.perf_counter() < end:
        started = time.perf_counter()
        torch._int_mm(first, second)
        best = max(best, size**3 / (time.perf_counter() - started))
    return best
