"""Two GPUs that are this machine's memory and processor, behind the CUDA runtime's calls as NVIDIA's bindings have them.

Faithful in what can go wrong in Python:

- Types: pointers and sizes are whole numbers, a kind of copy is its enumeration, streams, events and graphs are handles of their
  class; anything else raises TypeError. Every call returns a tuple: the error and, without one, what it gives.
- Memory: device addresses are none of this process's, so that reading one from Python crashes; a kernel that is given another
  address than one on the device, or host memory that was mapped, is an illegal access (700), and a copy that leaves its
  allocations, or goes the other way than its kind says, is refused. Fresh memory holds a pattern, freed memory is gone.
- Streams are deferred: nothing runs until somebody waits for the stream, or for an event on it, and then only what is before
  that. Each is in order; between streams only events make order.
- Graphs: what is given to a capturing stream is kept, not run; calls that CUDA forbids meanwhile make the capture invalid.
- Errors of kernels come to whoever waits, and what is behind them on the stream does not run; after a sticky one every call
  returns it until the process ends (until the module is imported anew).
- The current device belongs to the thread; a kernel on a stream of another device is refused.

Not faithful: no time passes on the device, so nothing overlaps in truth (`journal` tells what was queued and run, in order);
pageable memory is refused in asynchronous copies, which CUDA only makes synchronous; another process does not see the device.

Faults: `fail_kernel` here, or from another process the file $FAKE_CUDA_ERROR, which holds the code that waiting for a stream
is to report, or "hang" for a device that never finishes.
"""

# ruff: noqa: N801, N802, N815, N816  the names are NVIDIA's

from __future__ import annotations

import ctypes
import mmap
import operator
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInvalidDevice = 101
    cudaErrorECCUncorrectable = 214
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorLaunchOutOfResources = 701
    cudaErrorMisalignedAddress = 716
    cudaErrorLaunchFailure = 719
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


cudaHostAllocMapped = 2
cudaStreamNonBlocking = 1
cudaEventDefault = 0
DEVICE_COUNT = 2
DEVICE_BASE = 0x7D_0000_0000_0000
FRESH = 0xA5
# "The process must be terminated and relaunched"; an uncorrectable memory error, too, ends the context.
STICKY_ERRORS = (
    cudaError_t.cudaErrorECCUncorrectable,
    cudaError_t.cudaErrorIllegalAddress,
    cudaError_t.cudaErrorMisalignedAddress,
    cudaError_t.cudaErrorLaunchFailure,
)
Operation = Callable[[], cudaError_t]


class _Handle:
    """An opaque handle, which becomes a number by `int`."""

    def __init__(self, number: int = 0) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number


class cudaStream_t(_Handle):
    pass


class cudaEvent_t(_Handle):
    pass


class cudaGraph_t(_Handle):
    pass


class cudaGraphExec_t(_Handle):
    pass


@dataclass
class _Allocation:
    address: int
    memory: Any
    on_device: bool
    mapped: bool = False


@dataclass
class _Stream:
    device: int
    queue: list[tuple[str, Operation | _Event]] = field(default_factory=list)
    capture: list[tuple[str, Operation]] | None = None
    capture_is_valid: bool = True


@dataclass
class _Event:
    """number, stream: where it was recorded; time_s: when it was reached."""

    number: int = 0
    stream: _Stream | None = None
    is_pending: bool = False
    time_s: float | None = None

    def reach(self) -> None:
        self.is_pending, self.time_s = False, time.perf_counter()


journal: list[tuple[str, int, str]] = []
"""("queued" or "run", stream, what), in order; a replayed graph's operations stand as they are run."""
properties = SimpleNamespace(integrated=0)
"""What the devices say of themselves; to be changed by a test."""
_lock = threading.RLock()
_thread = threading.local()
_allocations: dict[int, _Allocation] = {}
_handles: dict[int, Any] = {}
_next = SimpleNamespace(device_address=DEVICE_BASE, handle=0x1000)
_faults: list[cudaError_t] = []
_sticky = cudaError_t.cudaSuccess


def fail_kernel(code: int) -> None:
    """Let the next kernel that runs fail."""
    _faults.append(cudaError_t(code))


def live_objects() -> tuple[int, int]:
    """Count allocations and handles that nobody has freed."""
    return len(_allocations), len(_handles)


def launch_kernel(stream_number: int, name: str, kernel: Operation) -> cudaError_t:
    """Queue a kernel, as a library on top of CUDA does; the current device has to be the stream's."""
    with _lock:
        if _sticky:
            return _sticky
        stream = _handles.get(stream_number)
        if not isinstance(stream, _Stream):
            return cudaError_t.cudaErrorInvalidResourceHandle
        if stream.device != _current_device():
            return cudaError_t.cudaErrorInvalidResourceHandle
        _queue(stream_number, stream, name, lambda: _faults.pop(0) if _faults else kernel())
        return cudaError_t.cudaSuccess


def is_capturing(stream_number: int) -> bool:
    return _handles[stream_number].capture is not None


def invalidate_capture(stream_number: int) -> None:
    """Do what may not be done while a stream is captured, as libraries do in their first run."""
    _handles[stream_number].capture_is_valid = False


def device_memory(address: int, size: int) -> Any:
    """Give the memory that a kernel sees at an address; LookupError where it sees none, or not as much."""
    return _find(address, size, lambda allocation: allocation.on_device or allocation.mapped)


def _find(address: int, size: int, fits: Callable[[_Allocation], bool]) -> Any:
    for allocation in _allocations.values():
        offset = address - allocation.address
        if fits(allocation) and offset >= 0 and offset + size <= len(allocation.memory):
            return (ctypes.c_uint8 * size).from_buffer(allocation.memory, offset)
    raise LookupError(hex(address))


def _current_device() -> int:
    return getattr(_thread, "device", 0)


def _queue(number: int, stream: _Stream, name: str, operation: Operation | _Event) -> None:
    if stream.capture is not None and not isinstance(operation, _Event):
        stream.capture.append((name, operation))
        return
    journal.append(("queued", number, name))
    stream.queue.append((name, operation))


def _run(number: int, stream: _Stream, until: _Event | None = None) -> cudaError_t:
    """Run what waits on a stream; after an error nothing more of it."""
    while stream.queue:
        name, operation = stream.queue.pop(0)
        if isinstance(operation, _Event):
            operation.reach()
            if operation is until:
                break
            continue
        if name != "graph":  # which tells of its operations itself
            journal.append(("run", number, name))
        if error := operation():
            for _, waiting in stream.queue:
                if isinstance(waiting, _Event):
                    waiting.reach()
            stream.queue.clear()
            return _keep(error)
    return cudaError_t.cudaSuccess


def _keep(error: cudaError_t) -> cudaError_t:
    global _sticky
    if error in STICKY_ERRORS:
        _sticky = error
    return error


def _error_of_file() -> cudaError_t:
    file = Path(os.environ.get("FAKE_CUDA_ERROR", "/nowhere"))
    if not file.exists():
        return cudaError_t.cudaSuccess
    text = file.read_text()
    if text == "hang":
        ctypes.CDLL(None).sleep(3600)
    error = cudaError_t(int(text))
    if error not in STICKY_ERRORS:
        file.unlink()
    return error


def _handle(kind: type[_Handle], value: Any) -> Any:
    _next.handle += 8
    _handles[_next.handle] = value
    return kind(_next.handle)


def _of(kind: type[_Handle], handle: Any) -> Any:
    if not isinstance(handle, kind):
        raise TypeError(f"expected {kind.__name__}, not {type(handle).__name__}")
    return _handles.get(int(handle))


def _answer(*values: Any) -> tuple[Any, ...]:
    return (_sticky, *(None for _ in values)) if _sticky else (cudaError_t.cudaSuccess, *values)


def _failed(error: cudaError_t, values: int = 0) -> tuple[Any, ...]:
    return (_sticky or error, *[None] * values)


def _disturb_captures() -> bool:
    """Make captures invalid by a call that is not allowed beside one; tell whether there was one."""
    capturing = [s for s in _handles.values() if isinstance(s, _Stream) and s.capture is not None]
    for stream in capturing:
        stream.capture_is_valid = False
    return bool(capturing)


# Devices


def cudaGetDeviceCount() -> tuple[Any, ...]:
    return _answer(DEVICE_COUNT)


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
    if not 0 <= operator.index(device) < DEVICE_COUNT:
        return _failed(cudaError_t.cudaErrorInvalidDevice, 1)
    return _answer(
        SimpleNamespace(
            name=b"Fake GPU",
            major=8,
            minor=7,
            multiProcessorCount=16,
            integrated=properties.integrated,
            canMapHostMemory=1,
        )
    )


def cudaSetDevice(device: int) -> tuple[Any, ...]:
    if not 0 <= operator.index(device) < DEVICE_COUNT:
        return _failed(cudaError_t.cudaErrorInvalidDevice)
    if not _sticky:
        _thread.device = device
    return _answer()


# Memory


def cudaMalloc(size: int) -> tuple[Any, ...]:
    with _lock:
        if _sticky or _disturb_captures():
            return _failed(cudaError_t.cudaErrorStreamCaptureUnsupported, 1)
        memory = bytearray([FRESH]) * operator.index(size)
        address = _next.device_address
        _next.device_address += -(-size // 512) * 512 + 512  # with a gap, so that running over the end is seen
        _allocations[address] = _Allocation(address, memory, on_device=True)
        return _answer(address)


def cudaHostAlloc(size: int, flags: int) -> tuple[Any, ...]:
    with _lock:
        if _sticky or _disturb_captures():
            return _failed(cudaError_t.cudaErrorStreamCaptureUnsupported, 1)
        pages = mmap.mmap(-1, operator.index(size))  # as aligned as page-locked memory is
        pages.write(bytes([FRESH]) * size)
        memory = (ctypes.c_uint8 * size).from_buffer(pages)
        address = ctypes.addressof(memory)
        mapped = bool(operator.index(flags) & cudaHostAllocMapped)
        _allocations[address] = _Allocation(address, memory, on_device=False, mapped=mapped)
        return _answer(address)


def cudaHostGetDevicePointer(pointer: int, flags: int) -> tuple[Any, ...]:
    allocation = _allocations.get(operator.index(pointer))
    if operator.index(flags) or allocation is None or not allocation.mapped:
        return _failed(cudaError_t.cudaErrorInvalidValue, 1)
    return _answer(pointer)


def cudaFree(pointer: int) -> tuple[Any, ...]:
    return _free(pointer, on_device=True)


def cudaFreeHost(pointer: int) -> tuple[Any, ...]:
    return _free(pointer, on_device=False)


def _free(pointer: int, on_device: bool) -> tuple[Any, ...]:
    """Wait for the device, as CUDA does, and take the memory away."""
    with _lock:
        allocation = _allocations.get(operator.index(pointer))
        if allocation is None or allocation.on_device != on_device:
            return _failed(cudaError_t.cudaErrorInvalidValue)
        for number, stream in list(_handles.items()):
            if isinstance(stream, _Stream):
                _run(number, stream)
        del _allocations[pointer]
        return _answer()


def cudaMemcpyAsync(target: int, source: int, size: int, kind: cudaMemcpyKind, stream: cudaStream_t) -> tuple[Any, ...]:
    if not isinstance(kind, cudaMemcpyKind):
        raise TypeError(f"expected cudaMemcpyKind, not {type(kind).__name__}")
    target, source, size = operator.index(target), operator.index(source), operator.index(size)
    with _lock:
        found = _of(cudaStream_t, stream)
        if _sticky or found is None:
            return _failed(cudaError_t.cudaErrorInvalidResourceHandle)
        upload = kind == cudaMemcpyKind.cudaMemcpyHostToDevice

        def views() -> tuple[Any, Any]:
            to = _find(target, size, lambda allocation: allocation.on_device == upload)
            return to, _find(source, size, lambda allocation: allocation.on_device != upload)

        def copy() -> cudaError_t:
            try:
                to, of = views()
            except LookupError:  # freed meanwhile
                return cudaError_t.cudaErrorIllegalAddress
            ctypes.memmove(to, of, size)
            return cudaError_t.cudaSuccess

        try:
            views()
        except LookupError:
            return _failed(cudaError_t.cudaErrorInvalidValue)
        _queue(int(stream), found, "upload" if upload else "download", copy)
        return _answer()


# Streams and events


def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:
    operator.index(flags)
    return _answer(None) if _sticky else _answer(_handle(cudaStream_t, _Stream(_current_device())))


def cudaStreamDestroy(stream: cudaStream_t) -> tuple[Any, ...]:
    with _lock:
        found = _of(cudaStream_t, stream)
        if found is None:
            return _failed(cudaError_t.cudaErrorInvalidResourceHandle)
        _run(int(stream), found)
        del _handles[int(stream)]
        return _answer()


def cudaStreamSynchronize(stream: cudaStream_t) -> tuple[Any, ...]:
    """Run what waits, and report what went wrong on the device."""
    with _lock:
        found = _of(cudaStream_t, stream)
        if _sticky or found is None:
            return _failed(cudaError_t.cudaErrorInvalidResourceHandle)
        if found.capture is not None:
            found.capture_is_valid = False
            return _failed(cudaError_t.cudaErrorStreamCaptureUnsupported)
        error = _run(int(stream), found)
    return (error or _keep(_error_of_file()),)


def cudaEventCreateWithFlags(flags: int) -> tuple[Any, ...]:
    operator.index(flags)
    return _answer(None) if _sticky else _answer(_handle(cudaEvent_t, _Event()))


def cudaEventRecord(event: cudaEvent_t, stream: cudaStream_t) -> tuple[Any, ...]:
    with _lock:
        recorded, found = _of(cudaEvent_t, event), _of(cudaStream_t, stream)
        if _sticky or recorded is None or found is None:
            return _failed(cudaError_t.cudaErrorInvalidResourceHandle)
        recorded.number, recorded.stream, recorded.is_pending = int(stream), found, True
        found.queue.append(("event", recorded))
        return _answer()


def cudaEventSynchronize(event: cudaEvent_t) -> tuple[Any, ...]:
    """Run what is before the event on its stream, and report what went wrong on the device."""
    with _lock:
        found = _of(cudaEvent_t, event)
        if _sticky or found is None:
            return _failed(cudaError_t.cudaErrorInvalidResourceHandle)
        error = _run(found.number, found.stream, found) if found.is_pending else cudaError_t.cudaSuccess
    return (error or _keep(_error_of_file()),)


def cudaEventElapsedTime(start: cudaEvent_t, end: cudaEvent_t) -> tuple[Any, ...]:
    first, last = _of(cudaEvent_t, start), _of(cudaEvent_t, end)
    if _sticky or first is None or last is None or first.time_s is None or last.time_s is None:
        return _failed(cudaError_t.cudaErrorInvalidResourceHandle, 1)
    return _answer((last.time_s - first.time_s) * 1e3)


def cudaEventDestroy(event: cudaEvent_t) -> tuple[Any, ...]:
    return _destroy(cudaEvent_t, event)


# Graphs


def cudaStreamBeginCapture(stream: cudaStream_t, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:
    if not isinstance(mode, cudaStreamCaptureMode):
        raise TypeError(f"expected cudaStreamCaptureMode, not {type(mode).__name__}")
    found = _of(cudaStream_t, stream)
    if _sticky or found is None or found.capture is not None:
        return _failed(cudaError_t.cudaErrorInvalidValue)
    found.capture, found.capture_is_valid = [], True
    return _answer()


def cudaStreamEndCapture(stream: cudaStream_t) -> tuple[Any, ...]:
    found = _of(cudaStream_t, stream)
    if _sticky or found is None or found.capture is None:
        return _failed(cudaError_t.cudaErrorInvalidValue, 1)
    captured, found.capture = found.capture, None
    if not found.capture_is_valid:
        return _failed(cudaError_t.cudaErrorStreamCaptureInvalidated, 1)
    return _answer(_handle(cudaGraph_t, captured))


def cudaGraphInstantiate(graph: cudaGraph_t, flags: int) -> tuple[Any, ...]:
    captured = _of(cudaGraph_t, graph)
    if _sticky or captured is None or operator.index(flags):
        return _failed(cudaError_t.cudaErrorInvalidValue, 1)
    return _answer(_handle(cudaGraphExec_t, list(captured)))


def cudaGraphLaunch(executable: cudaGraphExec_t, stream: cudaStream_t) -> tuple[Any, ...]:
    with _lock:
        operations, found = _of(cudaGraphExec_t, executable), _of(cudaStream_t, stream)
        if _sticky or operations is None or found is None:
            return _failed(cudaError_t.cudaErrorInvalidValue)

        def replay() -> cudaError_t:
            for name, operation in operations:
                journal.append(("run", int(stream), name))
                if error := operation():
                    return error
            return cudaError_t.cudaSuccess

        _queue(int(stream), found, "graph", replay)
        return _answer()


def _destroy(kind: type[_Handle], handle: _Handle) -> tuple[Any, ...]:
    if _of(kind, handle) is None:
        return _failed(cudaError_t.cudaErrorInvalidResourceHandle)
    del _handles[int(handle)]
    return _answer()


def cudaGraphDestroy(graph: cudaGraph_t) -> tuple[Any, ...]:
    return _destroy(cudaGraph_t, graph)


def cudaGraphExecDestroy(executable: cudaGraphExec_t) -> tuple[Any, ...]:
    return _destroy(cudaGraphExec_t, executable)
