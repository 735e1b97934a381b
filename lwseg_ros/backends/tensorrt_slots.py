"""Room for one batch on its way over a CUDA device: memory, a stream, and what runs on it.

Everything is made when a model is opened, so that a frame costs no allocation: one copy of the images to the device, one run, one
copy of both results back, all queued by one launch (a CUDA graph) where that can be captured. Each slot has a stream of its own,
so that copies and runs of neighbouring batches overlap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from lwseg_ros.backends import cuda
from lwseg_ros.backends.tensorrt_builder import Library
from lwseg_ros.errors import BackendError, BackendLostError

logger = logging.getLogger(__name__)


class TensorRtSlot:
    """See `base.Slot`."""

    def __init__(
        self,
        library: Library,
        device: cuda.CudaDevice,
        make_context: Callable[[], Any],
        shape: tuple[int, int, int],
        *,
        capture: bool,
        free_slots: list[TensorRtSlot],
    ) -> None:
        """Allocate, run every size of a batch once, and capture it as a graph if wanted.

        make_context: gives a new execution context of the engine. shape: max_batch, H, W. free_slots: where a slot that
        is released goes. Raises BackendError, and then keeps nothing.
        """
        self._library = library
        self._device_id = device.id
        self._cudart = cuda.bindings()
        self._max_batch, self._height, self._width = shape
        self._free_slots = free_slots
        self._count = 0  # of the batch under way
        with ExitStack() as resources:
            self._stream = cuda.check(self._cudart.cudaStreamCreateWithFlags(self._cudart.cudaStreamNonBlocking))
            resources.callback(self._cudart.cudaStreamDestroy, self._stream)
            self._begin, self._end = (_new_event(self._cudart, resources) for _ in range(2))
            pixels = self._max_batch * self._height * self._width
            self._input = cuda.Buffer(self._cudart, pixels * 3, mapped=device.shares_memory)
            resources.callback(self._input.free)
            self._output = cuda.Buffer(self._cudart, _aligned(pixels) + pixels, mapped=device.shares_memory)
            resources.callback(self._output.free)
            self.images: np.ndarray = self._input.host.reshape(self._max_batch, self._height, self._width, 3)
            # A graph is bound to the state of its context, so every size of a batch has its own.
            self._contexts = [self._prepared(make_context(), count) for count in range(1, self._max_batch + 1)]
            resources.callback(self._contexts.clear)
            self._graphs: list[cuda.Graph | None] = [None] * self._max_batch
            for count in range(1, self._max_batch + 1):
                self._run_once(count)
                if capture and (graph := self._captured(count)) is not None:
                    resources.callback(graph.free)
                    self._graphs[count - 1] = graph
            self._resources = resources.pop_all()

    def submit(self, count: int) -> None:
        """Begin with the first images; see `base.Slot.submit`."""
        self._use_device()
        self._library.log.errors.clear()
        try:
            cuda.check(self._cudart.cudaEventRecord(self._begin, self._stream))
            if (graph := self._graphs[count - 1]) is not None:
                graph.launch(self._stream)
            else:
                self._enqueue(count)
            cuda.check(self._cudart.cudaEventRecord(self._end, self._stream))
        except BackendError as error:
            self._settle(error)
            raise
        self._count = count

    def collect(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Wait for label, uncertainty and time; see `base.Slot.collect`."""
        if not self._count:
            raise BackendError("nothing was submitted to this slot of the tensorrt backend")
        count, self._count = self._count, 0
        self._use_device()
        cuda.check(self._cudart.cudaEventSynchronize(self._end))
        engine_ms = float(cuda.check(self._cudart.cudaEventElapsedTime(self._begin, self._end)))
        pixels = count * self._height * self._width
        label = self._output.host[:pixels]
        uncertainty = self._output.host[_aligned(pixels) :][:pixels]
        shape = (count, self._height, self._width)
        return label.reshape(shape), uncertainty.reshape(shape), engine_ms

    def release(self) -> None:
        """Give the slot back, once nothing runs on its memory any more."""
        if self._count:
            self._count = 0
            # Whatever comes of it: nobody wants the results.
            self._cudart.cudaSetDevice(self._device_id)
            self._cudart.cudaStreamSynchronize(self._stream)
        if self not in self._free_slots:
            self._free_slots.append(self)

    def engine_ms(self, count: int, runs: int) -> float:
        """Return how long a run without copies takes in milliseconds, the mean of several behind each other; for benchmarks."""
        self._use_device()
        with ExitStack() as resources:
            launch: Callable[[], None] = partial(self._run, count)
            if self._graphs[count - 1] is not None:
                graph = cuda.Graph(self._cudart, self._stream, launch)
                resources.callback(graph.free)
                launch = partial(graph.launch, self._stream)
            launch()
            cuda.check(self._cudart.cudaEventRecord(self._begin, self._stream))
            for _ in range(runs):
                launch()
            cuda.check(self._cudart.cudaEventRecord(self._end, self._stream))
            cuda.check(self._cudart.cudaStreamSynchronize(self._stream))
            return float(cuda.check(self._cudart.cudaEventElapsedTime(self._begin, self._end))) / runs

    def free(self) -> None:
        """Wait for what runs and free everything."""
        self._cudart.cudaStreamSynchronize(self._stream)
        self._count = 0
        self.images = np.empty(0, np.uint8)
        self._resources.close()

    def _use_device(self) -> None:
        # The current device belongs to the thread, and the caller's may be another than the one that opened us.
        cuda.check(self._cudart.cudaSetDevice(self._device_id))

    def _settle(self, error: BackendError) -> None:
        """Wait until nothing of a failed batch runs. What CUDA says of it goes first: only it knows whether the device is lost."""
        try:
            cuda.check(self._cudart.cudaStreamSynchronize(self._stream))
        except BackendLostError as lost:
            raise lost from error
        except BackendError:
            logger.debug("after %s", error, exc_info=True)

    def _prepared(self, context: Any, count: int) -> Any:
        """Set a context to a size of a batch and to our memory."""
        if not context.set_optimization_profile_async(count - 1, int(self._stream)):
            raise self._failed(f"does not take profile {count - 1}")
        cuda.check(self._cudart.cudaStreamSynchronize(self._stream))
        shape = (count, self._height, self._width, 3)
        if not context.set_input_shape("image", shape):
            raise self._failed(f"does not take images of shape {shape}")
        uncertainty = self._output.device_pointer + _aligned(count * self._height * self._width)
        addresses = {
            "image": self._input.device_pointer,
            "label": self._output.device_pointer,
            "uncertainty": uncertainty,
        }
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise self._failed(f"does not take a buffer for {name!r}")
        return context

    def _enqueue(self, count: int) -> None:
        pixels = count * self._height * self._width
        self._input.upload(pixels * 3, self._stream)
        self._run(count)
        self._output.download(_aligned(pixels) + pixels, self._stream)

    def _run(self, count: int) -> None:
        if not self._contexts[count - 1].execute_async_v3(int(self._stream)):
            raise self._failed("failed")

    def _run_once(self, count: int) -> None:
        """Run a size of a batch on blank images: what a library puts off until its first run is done then."""
        self.submit(count)
        self.collect()

    def _captured(self, count: int) -> cuda.Graph | None:
        try:
            return cuda.Graph(self._cudart, self._stream, lambda: self._enqueue(count))
        except BackendLostError:
            raise
        except BackendError as error:
            logger.warning("no CUDA graph for a batch of %d, it is launched step by step: %s", count, error)
            return None

    def _failed(self, what: str) -> BackendError:
        reason = self._library.log.first_error() or "no reason given"
        return BackendError(f"{self._library.name} {self._library.version} {what}: {reason}")


def _new_event(cudart: ModuleType, resources: ExitStack) -> Any:
    event = cuda.check(cudart.cudaEventCreateWithFlags(cudart.cudaEventDefault))
    resources.callback(cudart.cudaEventDestroy, event)
    return event


def _aligned(size: int) -> int:
    return -(-size // cuda.ALIGNMENT) * cuda.ALIGNMENT
