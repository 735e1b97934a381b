"""TensorRT on a CUDA device: `tensorrt` 10.x and 11.x and `tensorrt_rtx` 1.x, through what their APIs share."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack

import numpy as np

from lwseg_ros.backends import cuda
from lwseg_ros.backends.base import Backend, BackendOptions, Probe, Slot, check_images
from lwseg_ros.backends.tensorrt_builder import MISSING, installed_library, load_library
from lwseg_ros.backends.tensorrt_engines import load_kernels, open_engine, store_kernels
from lwseg_ros.backends.tensorrt_slots import TensorRtSlot
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile

NO_DEVICE_REMEDY = "install an NVIDIA driver, or use backend openvino or auto"
# One batch runs while the one before it is read and published.
NUM_SLOTS = 2


def probe(options: BackendOptions) -> Probe:
    """Look for a CUDA device and a TensorRT; one without the other is worth explaining."""
    library = installed_library()
    try:
        device: cuda.CudaDevice | None = cuda.find_device(options.device_id)
        missing_device = ""
    except BackendError as error:
        device, missing_device = None, str(error)
    expected = library is not None or device is not None or cuda.gpu_is_there()
    if device is None:
        return Probe(available=False, expected=expected, detail=missing_device)
    if library is None:
        return Probe(available=False, expected=True, detail=MISSING)
    return Probe(available=True, expected=True, detail=f"{library} on {device.name}")


def preferred_precisions(options: BackendOptions) -> tuple[str, ...]:
    """Prefer int8 with the full library, whose every GPU has int8 convolutions; TensorRT for RTX is made for 16-bit floats."""
    return ("int8", "fp16") if installed_library() == "tensorrt" else ("fp16",)


def open(model: ModelFile, options: BackendOptions) -> Backend:
    """Open a model; raises BackendUnavailableError or BackendError."""
    return TensorRtBackend(model, options)


class TensorRtBackend:
    """A model as a TensorRT engine. See `base.SlottedBackend`."""

    name = "tensorrt"
    num_slots = NUM_SLOTS

    def __init__(self, model: ModelFile, options: BackendOptions) -> None:
        """Load or build the engine, and run it; raises BackendUnavailableError or BackendError and then keeps nothing."""
        library = load_library()
        try:
            device = cuda.find_device(options.device_id)
        except BackendUnavailableError as error:
            raise BackendUnavailableError(f"TensorRT cannot run here: {error}; {NO_DEVICE_REMEDY}") from error
        self.library_version = f"{library.version} ({library.name})"
        self.device = device.name
        self.precision = model.manifest.precision
        self._input_size_hw = model.manifest.input_size_hw
        self._max_batch = options.max_batch
        self._device_id = device.id
        cuda.check(cuda.bindings().cudaSetDevice(device.id))
        self._free_slots: list[TensorRtSlot] = []
        with ExitStack() as resources:
            engine = open_engine(model, options, device)
            resources.callback(engine.free)
            kept = load_kernels(model, options, device)
            engine.set_up(cuda_graphs=options.cuda_graphs, kernels=kept)
            for _ in range(NUM_SLOTS):
                slot = TensorRtSlot(
                    library,
                    device,
                    engine.make_context,
                    (options.max_batch, *self._input_size_hw),
                    capture=options.cuda_graphs and not engine.captures_itself,
                    free_slots=self._free_slots,
                )
                resources.callback(slot.free)
                self._free_slots.append(slot)
            kernels = engine.compiled_kernels()
            if kernels is not None and kernels != kept:
                store_kernels(model, options, device, kernels)
            self._resources: ExitStack | None = resources.pop_all()

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment a batch; see `base.Backend.infer`."""
        self._check_open()
        check_images(images, self._input_size_hw, self._max_batch)
        slot = self.acquire()
        try:
            slot.images[: len(images)] = images
            slot.submit(len(images))
            label, uncertainty, _ = slot.collect()
            return label.copy(), uncertainty.copy()
        finally:
            slot.release()

    def acquire(self) -> Slot:
        """Return a free slot; see `base.SlottedBackend.acquire`."""
        self._check_open()
        try:
            return self._free_slots.pop()
        except IndexError:
            raise BackendError(f"all {NUM_SLOTS} slots of the tensorrt backend are in use; release one") from None

    def close(self) -> None:
        """Free engine, memory and streams, once nothing runs any more; again is harmless."""
        if self._resources is not None:
            resources, self._resources = self._resources, None
            self._free_slots.clear()
            cuda.bindings().cudaSetDevice(self._device_id)
            resources.close()

    def __del__(self) -> None:
        """Free what a caller forgot to close."""
        with contextlib.suppress(AttributeError):
            self.close()

    def _check_open(self) -> None:
        if self._resources is None:
            raise BackendError("the tensorrt backend is closed")
