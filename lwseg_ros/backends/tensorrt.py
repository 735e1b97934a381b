"""TensorRT on a CUDA device: `tensorrt` 10.x and 11.x and `tensorrt_rtx` 1.x, through what their APIs share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from lwseg_ros.backends import cuda
from lwseg_ros.backends.base import Backend, BackendOptions, Probe, check_images
from lwseg_ros.backends.engine_cache import ANY, EngineCache, EngineKey
from lwseg_ros.backends.tensorrt_builder import (
    MISSING,
    Library,
    build_engine,
    engine_key,
    installed_library,
    load_library,
    start,
)
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile

NO_DEVICE_REMEDY = "install an NVIDIA driver, or use backend openvino or auto"

logger = logging.getLogger(__name__)


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


def cached_engines(model: ModelFile, options: BackendOptions, device: cuda.CudaDevice) -> Iterator[bytes]:
    """Yield the engines of a model for a device that are in the cache, best first."""
    try:
        cache = EngineCache(options.cache_dir)
    except BackendError as error:
        logger.warning("%s", error)
        return
    for key in device_keys(model, options, load_library(), device):
        engine = cache.load(key)
        if engine is not None:
            yield engine


def build_for_device(model: ModelFile, options: BackendOptions, device: cuda.CudaDevice) -> bytes:
    """Build the engine of a model on a device and keep it; a cache that cannot be written costs only a warning."""
    library = load_library()
    logger.info("building the %s engine of %s; it is kept for the next time", library.name, model.path)
    cuda.check(cuda.bindings().cudaSetDevice(device.id))
    engine = build_engine(model, options)
    try:
        EngineCache(options.cache_dir).store(device_keys(model, options, library, device)[-1], engine)
    except BackendError as error:
        logger.warning("the engine is not kept: %s", error)
    return engine


def device_keys(
    model: ModelFile, options: BackendOptions, library: Library, device: cuda.CudaDevice
) -> list[EngineKey]:
    """List the keys of engines that run on a device, best first; the last is that of an engine built here."""
    if library.needs_device_to_build:
        return [engine_key(model, options, library, device.name, device.compute_capability)]
    # TensorRT for RTX engines are portable; they may have been built elsewhere for this kind of device alone.
    return [engine_key(model, options, library, ANY, capability) for capability in (device.compute_capability, ANY)]


class TensorRtBackend:
    """A model as a TensorRT engine. See `base.Backend`."""

    name = "tensorrt"

    def __init__(self, model: ModelFile, options: BackendOptions) -> None:
        """Load or build the engine; raises BackendUnavailableError or BackendError and then keeps nothing."""
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
        self._library = library
        self._device_id = device.id
        self._cudart = cuda.bindings()
        cuda.check(self._cudart.cudaSetDevice(device.id))
        with ExitStack() as resources:
            self._runtime, self._engine, self._context = self._open_engine(model, options, device)
            resources.callback(self._drop_engine)
            self._stream = cuda.check(self._cudart.cudaStreamCreate())
            resources.callback(self._cudart.cudaStreamDestroy, self._stream)
            height, width = self._input_size_hw
            pixels = options.max_batch * height * width
            self._buffers = {}
            for name, size in (("image", pixels * 3), ("label", pixels), ("uncertainty", pixels)):
                buffer = cuda.Buffer(self._cudart, size)
                resources.callback(buffer.free)
                self._buffers[name] = buffer
                if not self._context.set_tensor_address(name, buffer.device_pointer):
                    raise BackendError(f"{library.name} {library.version} does not take a buffer for {name!r}")
            self._resources: ExitStack | None = resources.pop_all()

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment a batch; see `base.Backend.infer`."""
        if self._resources is None:
            raise BackendError("the tensorrt backend is closed")
        check_images(images, self._input_size_hw, self._max_batch)
        # The current device belongs to the thread, and the caller's may be another than the one that opened us.
        cuda.check(self._cudart.cudaSetDevice(self._device_id))
        image, label, uncertainty = (self._buffers[name] for name in ("image", "label", "uncertainty"))
        pixels = images.size // 3
        image.host[: images.size] = images.reshape(-1)
        self._library.log.errors.clear()
        try:
            image.upload(images.size, self._stream)
            if not self._context.set_input_shape("image", images.shape):
                raise BackendError(f"TensorRT does not take images of shape {images.shape}")
            if not self._context.execute_async_v3(int(self._stream)):
                raise BackendError(f"TensorRT failed: {self._library.log.last_error() or 'no reason given'}")
            label.download(pixels, self._stream)
            uncertainty.download(pixels, self._stream)
        finally:
            # Nothing may still be running on the buffers when this returns or raises. What CUDA says of a failure goes
            # before what TensorRT says: only it tells whether the device is lost.
            cuda.check(self._cudart.cudaStreamSynchronize(self._stream))
        shape = images.shape[:3]
        return label.host[:pixels].reshape(shape).copy(), uncertainty.host[:pixels].reshape(shape).copy()

    def close(self) -> None:
        """Free engine, buffers and stream; again is harmless."""
        if self._resources is not None:
            self._resources.close()
            self._resources = None

    def __del__(self) -> None:
        """Free what a caller forgot to close."""
        with contextlib.suppress(AttributeError):
            self.close()

    def _open_engine(self, model: ModelFile, options: BackendOptions, device: cuda.CudaDevice) -> tuple[Any, Any, Any]:
        for engine in cached_engines(model, options, device):
            try:
                return self._deserialize(engine)
            except BackendError as error:  # such as after an update of the driver
                logger.warning("%s; the next one is tried, or it is built again", error)
        return self._deserialize(build_for_device(model, options, device))

    def _deserialize(self, data: bytes) -> tuple[Any, Any, Any]:
        runtime = start(self._library, "Runtime")
        engine = runtime.deserialize_cuda_engine(data)
        context = engine.create_execution_context() if engine is not None else None
        if context is None:
            reason = self._library.log.last_error() or "no reason given"
            raise BackendError(f"{self._library.name} {self._library.version} cannot load its engine: {reason}")
        return runtime, engine, context

    def _drop_engine(self) -> None:
        # In this order: each uses the next.
        self._context = None
        self._engine = None
        self._runtime = None
