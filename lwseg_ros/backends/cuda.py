"""The few CUDA runtime calls that inference needs, through NVIDIA's Python bindings."""

from __future__ import annotations

import ctypes
import importlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lwseg_ros.errors import BackendError, BackendLostError, BackendUnavailableError

# Device nodes of desktop drivers, of Jetson and of DRIVE; they show a GPU even where the bindings are missing.
DEVICE_NODES = (Path("/dev/nvidiactl"), Path("/dev/nvhost-gpu"), Path("/dev/nvgpu"))
INSUFFICIENT_DRIVER = 35
# After these every further call fails until the process ends. So say CUDA's documents of most ("the process must be
# terminated and relaunched"); the memory and link errors, 214 and 220, lose the context in the same way.
STICKY_ERRORS = frozenset({214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911})


@dataclass(frozen=True)
class CudaDevice:
    """A CUDA device. compute_capability: such as "8.7"."""

    id: int
    name: str
    compute_capability: str


def bindings() -> ModuleType:
    """Import the CUDA runtime's bindings; raises BackendUnavailableError."""
    for name in ("cuda.bindings.runtime", "cuda.cudart"):  # the latter before version 12.6
        try:
            return importlib.import_module(name)
        except Exception:  # without a driver some versions raise RuntimeError, with half an installation anything
            continue
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
    return CudaDevice(device_id, name.rstrip("\0"), f"{properties.major}.{properties.minor}")


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
    """One tensor on the device with its page-locked twin on the host, so that copies run asynchronously.

    host: uint8, flat, of the size asked for. device_pointer: address on the device.
    """

    def __init__(self, cudart: ModuleType, size: int) -> None:
        """Allocate both; raises BackendError and then keeps nothing."""
        self._cudart = cudart
        with ExitStack() as undo:
            self.device_pointer = int(check(cudart.cudaMalloc(size)))
            undo.callback(cudart.cudaFree, self.device_pointer)
            self._host_pointer = int(check(cudart.cudaMallocHost(size)))
            self.host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._host_pointer))
            undo.pop_all()

    def upload(self, size: int, stream: Any) -> None:
        """Queue a copy of the first bytes to the device."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        check(self._cudart.cudaMemcpyAsync(self.device_pointer, self._host_pointer, size, kind, stream))

    def download(self, size: int, stream: Any) -> None:
        """Queue a copy of the first bytes from the device."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(self._cudart.cudaMemcpyAsync(self._host_pointer, self.device_pointer, size, kind, stream))

    def free(self) -> None:
        """Free both; `host` must not be touched any more."""
        self.host = np.empty(0, np.uint8)
        self._cudart.cudaFree(self.device_pointer)
        self._cudart.cudaFreeHost(self._host_pointer)


def _is_error(error: Any) -> bool:
    return int(error) != 0


def _name(error: Any) -> str:
    return f"{getattr(error, 'name', error)}, code {int(error)}"
