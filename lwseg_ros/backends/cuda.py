"""The few CUDA runtime calls that inference needs, through NVIDIA's Python bindings."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lwseg_ros.errors import BackendError, BackendLostError, BackendUnavailableError

# Device nodes of desktop drivers, of Jetson and of DRIVE, and the driver's library of WSL 2, which has no node of its own; they
# show a GPU even where the bindings are missing.
DEVICE_NODES = tuple(map(Path, ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/usr/lib/wsl/lib/libcuda.so.1")))
INSUFFICIENT_DRIVER = 35
# What TensorRT asks of the address of every tensor.
ALIGNMENT = 256
# After these every further call fails until the process ends. So say CUDA's documents of most ("the process must be
# terminated and relaunched"); the memory and link errors, 214 and 220, lose the context in the same way.
STICKY_ERRORS = frozenset({214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911})


@dataclass(frozen=True)
class CudaDevice:
    """A CUDA device.

    compute_capability: such as "8.7". multiprocessors: how many; two devices of one name may differ in it.
    shares_memory: an integrated GPU, which works on the host's memory itself.
    """

    id: int
    name: str
    compute_capability: str
    multiprocessors: int
    shares_memory: bool


def bindings() -> ModuleType:
    """Import the CUDA runtime's bindings; raises BackendUnavailableError."""
    for name in ("cuda.bindings.runtime", "cuda.cudart"):  # the latter before version 12.6
        try:
            return importlib.import_module(name)
        except Exception:  # without a driver some versions raise RuntimeError, with half an installation anything
            continue
    if not gpu_is_there():  # bindings would not help
        raise BackendUnavailableError("no NVIDIA GPU is found")
    raise BackendUnavailableError("the Python package cuda-python is not installed; `pip install cuda-python`")


def find_device(device_id: int = 0) -> CudaDevice:
    """Look for a CUDA device; raises BackendUnavailableError, which says whether driver or device is missing."""
    cudart = bindings()
    try:
        error, count = cudart.cudaGetDeviceCount()
    except RuntimeError as missing:  # cuda-python 12.8 opens the driver's library at the first call
        raise BackendUnavailableError(f"no CUDA driver is found ({missing})") from missing
    if _is_error(error):
        # The same code stands for no driver at all; a device node tells the two apart.
        too_old = int(error) == INSUFFICIENT_DRIVER and gpu_is_there()
        remedy = "; the driver may be older than cuda-python: install the cuda-python of the driver's CUDA version"
        raise BackendUnavailableError(f"no CUDA driver or device is found ({_name(error)}){remedy if too_old else ''}")
    if device_id >= count:
        raise BackendUnavailableError(f"there is no CUDA device {device_id}; the machine has {count}")
    properties = check(cudart.cudaGetDeviceProperties(device_id))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return CudaDevice(
        device_id,
        name.rstrip("\0"),
        f"{properties.major}.{properties.minor}",
        int(properties.multiProcessorCount),
        bool(properties.integrated and properties.canMapHostMemory),
    )


def gpu_is_there() -> bool:
    """Tell whether this machine has an NVIDIA GPU, whether or not CUDA works on it."""
    return any(node.exists() for node in DEVICE_NODES)


def check(result: tuple[Any, ...]) -> Any:
    """Unpack what a binding returned; raises BackendError, or BackendLostError, with CUDA's name of the error."""
    error, *values = result
    if int(error) in STICKY_ERRORS:
        raise BackendLostError(f"CUDA failed for good: {_name(error)}; only a new process can use the device again")
    if _is_error(error):
        raise BackendError(f"CUDA failed: {_name(error)}")
    return values[0] if values else None


class Buffer:
    """Bytes on the device with their page-locked twin on the host, so that copies run asynchronously.

    On an integrated GPU both are the same memory, and nothing is copied. host: uint8, flat, of the size asked for, zeros at
    first. device_pointer: address on the device, aligned to `ALIGNMENT` bytes.
    """

    def __init__(self, cudart: ModuleType, size: int, *, mapped: bool) -> None:
        """Allocate; mapped: let the device see the host's memory. Raises BackendError and then keeps nothing."""
        self._cudart = cudart
        self._mapped = mapped
        with ExitStack() as undo:
            self._host_pointer = int(check(cudart.cudaHostAlloc(size, cudart.cudaHostAllocMapped if mapped else 0)))
            undo.callback(cudart.cudaFreeHost, self._host_pointer)
            if mapped:
                self.device_pointer = int(check(cudart.cudaHostGetDevicePointer(self._host_pointer, 0)))
            else:
                self.device_pointer = int(check(cudart.cudaMalloc(size)))
                undo.callback(cudart.cudaFree, self.device_pointer)
            self.host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._host_pointer))
            self.host[:] = 0
            self._resources = undo.pop_all()

    def upload(self, size: int, stream: Any) -> None:
        """Queue a copy of the first bytes to the device."""
        if not self._mapped:
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
            check(self._cudart.cudaMemcpyAsync(self.device_pointer, self._host_pointer, size, kind, stream))

    def download(self, size: int, stream: Any) -> None:
        """Queue a copy of the first bytes from the device."""
        if not self._mapped:
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
            check(self._cudart.cudaMemcpyAsync(self._host_pointer, self.device_pointer, size, kind, stream))

    def free(self) -> None:
        """Free both; `host` must not be touched any more."""
        self.host = np.empty(0, np.uint8)
        self._resources.close()


class Graph:
    """What `enqueue` queues on a stream, kept as one launch."""

    def __init__(self, cudart: ModuleType, stream: Any, enqueue: Callable[[], None]) -> None:
        """Capture; raises BackendError, with the stream as it was, where something in it cannot be captured."""
        self._cudart = cudart
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(cudart.cudaStreamBeginCapture(stream, mode))
        try:
            enqueue()
        except BaseException:
            cudart.cudaStreamEndCapture(stream)
            raise
        graph = check(cudart.cudaStreamEndCapture(stream))
        try:
            self._executable = check(cudart.cudaGraphInstantiate(graph, 0))
        finally:
            cudart.cudaGraphDestroy(graph)

    def launch(self, stream: Any) -> None:
        """Queue all of it."""
        check(self._cudart.cudaGraphLaunch(self._executable, stream))

    def free(self) -> None:
        """Free it; nothing of it may be running."""
        self._cudart.cudaGraphExecDestroy(self._executable)


def _is_error(error: Any) -> bool:
    return int(error) != 0


def _name(error: Any) -> str:
    return f"{getattr(error, 'name', error)}, code {int(error)}"
