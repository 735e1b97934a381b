"""What every runtime offers, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from lwseg_ros.errors import BackendError, ImageError
from lwseg_ros.model.model_file import Manifest, ModelFile

CPU_PRECISIONS = ("auto", "bf16", "fp32")
# Called with phase, step and number of steps while an engine is built; False gives the build up. From any thread.
BuildProgress = Callable[[str, int, int], bool]


@dataclass(frozen=True)
class BackendOptions:
    """How to open a runtime; checked when made, raises BackendError.

    max_batch: the largest N that `infer` is given, >= 1.
    num_threads: for runtimes on the CPU; 0 lets the runtime decide.
    cache_dir: where TensorRT engines are kept; None takes `engine_cache.default_folder()`.
    device_id: which CUDA device.
    cpu_precision: arithmetic of OpenVINO on the CPU: "fp32", "bf16", or "auto" (see backends/openvino.py).
    cuda_graphs: launch all of a batch on the GPU at once; False launches step by step, to find faults or to compare.
    build_progress: called while an engine is built.
    """

    max_batch: int = 1
    num_threads: int = 0
    cache_dir: Path | None = None
    device_id: int = 0
    cpu_precision: str = "auto"
    cuda_graphs: bool = True
    build_progress: BuildProgress | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check every field."""
        for name, least in (("max_batch", 1), ("num_threads", 0), ("device_id", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise BackendError(f"{name} is {value!r}, expected a whole number of at least {least}")
        if self.cpu_precision not in CPU_PRECISIONS:
            raise BackendError(f"cpu_precision is {self.cpu_precision!r}, expected one of {', '.join(CPU_PRECISIONS)}")


@dataclass(frozen=True)
class Probe:
    """What a runtime finds on this machine before any model is opened.

    available: whether opening it is worth a try.
    expected: whether a user of this machine would expect it to be used, so that not using it needs explaining.
    detail: library and device found, or what is missing and how to get it.
    """

    available: bool
    expected: bool
    detail: str


class Backend(Protocol):
    """A model opened in a runtime. One thread at a time, and to be closed in the thread that opened it: OpenVINO takes back
    that thread's signal stack then, and done by another thread this lets the next signal crash the process.

    name: key in BACKENDS. library_version: of the runtime. device: in words.
    precision: of the arithmetic that really runs.
    """

    name: str
    library_version: str
    device: str
    precision: str

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment a batch.

        images: uint8 BGR [N, H, W, 3], C-contiguous, H and W the model's, 1 <= N <= max_batch; only read, and not
        used after the call. Returns label uint8 [N, H, W] (class ids) and uncertainty uint8 [N, H, W] (0 certain,
        255 not at all), both the caller's own. Raises ImageError for anything else than such images, BackendError
        when closed or when the runtime fails, BackendLostError when it can never run again in this process.
        """

    def close(self) -> None:
        """Free memory and threads; again is harmless."""


class Slot(Protocol):
    """Room for one batch on its way over a device. Its turns: fill `images`, `submit`, `collect`, use, `release`.

    images: uint8 BGR [max_batch, H, W, 3], C-contiguous, to be written to before `submit` and left alone until `collect`
    has returned.
    """

    images: np.ndarray

    def submit(self, count: int) -> None:
        """Begin with the first images, without waiting; raises BackendError, BackendLostError."""

    def collect(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Wait, and return label and uncertainty uint8 [count, H, W], and the milliseconds that the device took.

        The arrays are the slot's memory: only read them, and only until `release`. Raises BackendError, BackendLostError.
        """

    def release(self) -> None:
        """Give the slot back, whatever has become of its batch; again is harmless. Raises nothing."""


@runtime_checkable
class SlottedBackend(Backend, Protocol):
    """A backend in which several batches can be under way: `num_slots`, each with a slot of its own."""

    num_slots: int

    def acquire(self) -> Slot:
        """Return a free slot; raises BackendError where there is none, or the backend is closed."""


class OutputCheck:
    """Hold what `Backend.infer` returns against what it promises, and labels against the manifest's class table."""

    def __init__(self, manifest: Manifest) -> None:
        """Accept the classes' ids, and the ignore id, which a pixel has whose logits are not finite."""
        self._foreign = np.full(256, 255, np.uint8)
        self._foreign[[info.id for info in manifest.classes]] = 0
        if manifest.ignore_id is not None:
            self._foreign[manifest.ignore_id] = 0

    def __call__(self, label: np.ndarray, uncertainty: np.ndarray, expected: tuple[int, ...]) -> None:
        """Check the outputs for N, H, W expected; raises BackendError, which says what is wrong with them."""
        for name, output in (("label", label), ("uncertainty", uncertainty)):
            if not isinstance(output, np.ndarray) or output.dtype != np.uint8 or output.shape != expected:
                found = (
                    f"{output.dtype} {list(output.shape)}" if isinstance(output, np.ndarray) else type(output).__name__
                )
                raise BackendError(f"the runtime gave {name} as {found}, expected uint8 {list(expected)}")
        # OpenCV needs a seventh of numpy's time for this: 0.05 ms at 360 x 480, 0.16 ms at 512 x 1024.
        foreign = cv2.LUT(label.reshape(-1, label.shape[-1]), self._foreign)
        if cv2.countNonZero(foreign):
            ids = np.unique(label.reshape(foreign.shape)[foreign != 0]).tolist()
            raise BackendError(f"the model gave labels {ids}, which are no classes of its manifest; export it again")


class Runtime(Protocol):
    """A module in this package: one runtime."""

    def probe(self, options: BackendOptions) -> Probe:
        """Look for library and device, cheaply and without raising."""

    def preferred_precisions(self, options: BackendOptions) -> tuple[str, ...]:
        """List the conversions of a model, "fp16" or "int8", that run faster here than the model itself, best first."""

    def open(self, model: ModelFile, options: BackendOptions) -> Backend:
        """Open a model; raises BackendUnavailableError or BackendError, and then leaves nothing behind."""


def check_images(images: np.ndarray, input_size_hw: tuple[int, int], max_batch: int) -> None:
    """Demand uint8 [N, H, W, 3], C-contiguous, 1 <= N <= max_batch; raises ImageError."""
    if not isinstance(images, np.ndarray):
        raise ImageError(f"images are a {type(images).__name__}, expected a numpy array")
    height, width = input_size_hw
    if images.dtype != np.uint8:
        raise ImageError(f"images are {images.dtype}, expected uint8")
    if images.ndim != 4 or images.shape[1:] != (height, width, 3):
        raise ImageError(f"images have shape {images.shape}, expected (N, {height}, {width}, 3)")
    if not 1 <= len(images) <= max_batch:
        raise ImageError(f"a batch of {len(images)} images, expected 1 to {max_batch}; open with a larger max_batch")
    if not images.flags.c_contiguous:
        raise ImageError("images are not C-contiguous; pass them through numpy.ascontiguousarray")
