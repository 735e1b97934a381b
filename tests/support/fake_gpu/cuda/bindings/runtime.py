"""A GPU that is this machine's memory, behind the CUDA runtime's calls as NVIDIA's bindings have them.

Every call returns a tuple: the error and, without one, what it gives. An error reported by the device is written as its code
into the file $FAKE_CUDA_ERROR; the sticky ones are then returned by every call until the process ends, as CUDA documents.
"hang" there is a device that never finishes.
"""

# ruff: noqa: N801, N802, N815, N816  the names are NVIDIA's

from __future__ import annotations

import ctypes
import os
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorECCUncorrectable = 214
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchOutOfResources = 701
    cudaErrorMisalignedAddress = 716
    cudaErrorLaunchFailure = 719


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


# "The process must be terminated and relaunched"; an uncorrectable memory error, too, ends the context.
STICKY_ERRORS = (
    cudaError_t.cudaErrorECCUncorrectable,
    cudaError_t.cudaErrorIllegalAddress,
    cudaError_t.cudaErrorMisalignedAddress,
    cudaError_t.cudaErrorLaunchFailure,
)

_memory: dict[int, Any] = {}
_sticky = cudaError_t.cudaSuccess


def device_error() -> cudaError_t:
    """Return what the device reports now: a sticky error for ever, another once."""
    global _sticky
    file = Path(os.environ.get("FAKE_CUDA_ERROR", "/nowhere"))
    if not _sticky and file.exists():
        if file.read_text() == "hang":
            ctypes.CDLL(None).sleep(3600)
        error = cudaError_t(int(file.read_text()))
        if error not in STICKY_ERRORS:
            file.unlink()
            return error
        _sticky = error
    return _sticky


def _answer(*values: Any) -> tuple[Any, ...]:
    return (_sticky, *(None for _ in values)) if _sticky else (cudaError_t.cudaSuccess, *values)


def cudaGetDeviceCount() -> tuple[Any, ...]:
    return _answer(1)


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
    return _answer(SimpleNamespace(name=b"Fake GPU", major=8, minor=7))


def cudaSetDevice(device: int) -> tuple[Any, ...]:
    return _answer()


def cudaStreamCreate() -> tuple[Any, ...]:
    return _answer(1)


def cudaStreamDestroy(stream: int) -> tuple[Any, ...]:
    return _answer()


def cudaStreamSynchronize(stream: int) -> tuple[Any, ...]:
    """Report what went wrong on the device since the last call, as asynchronous errors are."""
    return (device_error(),)


def cudaMalloc(size: int) -> tuple[Any, ...]:
    memory = (ctypes.c_uint8 * size)()
    _memory[ctypes.addressof(memory)] = memory
    return _answer(ctypes.addressof(memory))


def cudaFree(pointer: int) -> tuple[Any, ...]:
    _memory.pop(pointer, None)
    return _answer()


def cudaMemcpyAsync(target: int, source: int, size: int, kind: cudaMemcpyKind, stream: int) -> tuple[Any, ...]:
    if not _sticky:
        ctypes.memmove(target, source, size)
    return _answer()


cudaMallocHost, cudaFreeHost = cudaMalloc, cudaFree
