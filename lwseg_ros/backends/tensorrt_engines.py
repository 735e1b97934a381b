"""A model's engine on a device: from the cache or built, loaded, and set up to run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from lwseg_ros.backends import cuda
from lwseg_ros.backends.base import BackendOptions
from lwseg_ros.backends.engine_cache import ANY, EngineCache, EngineKey
from lwseg_ros.backends.tensorrt_builder import CURRENT, Library, build_engine, engine_key, load_library, start
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile

logger = logging.getLogger(__name__)


class LoadedEngine:
    """An engine in the device's memory.

    captures_itself: whether the library makes CUDA graphs of its runs, as TensorRT for RTX does by a setting.
    """

    def __init__(self, library: Library, data: bytes) -> None:
        """Load it; raises BackendError."""
        self._library = library
        self._runtime = start(library, "Runtime")
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise self._failed("cannot load its engine")
        self.captures_itself = hasattr(self._engine, "create_runtime_config")
        self._kernels: Any = None
        self._settings: Any = None

    def set_up(self, *, cuda_graphs: bool, kernels: bytes | None) -> None:
        """Say how contexts run, where the library can be told.

        kernels: what `compiled_kernels` gave before, so that they need not be compiled again.
        """
        trt = self._library.module
        # Each context is set to one profile for ever.
        self._settings = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        if not self.captures_itself:
            return
        strategy, graphs = self._settings, trt.CudaGraphStrategy
        self._settings = self._engine.create_runtime_config()
        self._settings.set_execution_context_allocation_strategy(strategy)
        self._settings.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if cuda_graphs else graphs.DISABLED
        # The kernels for a shape are there after its first run, and no frame meets makeshift ones.
        specialization = trt.DynamicShapesKernelSpecializationStrategy
        self._settings.dynamic_shapes_kernel_specialization_strategy = specialization.EAGER
        self._kernels = self._settings.create_runtime_cache()
        if kernels is not None and not self._kernels.deserialize(kernels):
            logger.info("the compiled kernels are for another device or driver; they are compiled again")
        self._settings.set_runtime_cache(self._kernels)

    def make_context(self) -> Any:
        """Return a new execution context; raises BackendError."""
        self._library.log.errors.clear()
        context = self._engine.create_execution_context(self._settings)
        if context is None:
            raise self._failed("has no room for its engine")
        return context

    def compiled_kernels(self) -> bytes | None:
        """Return the kernels that were compiled in the first runs, or None where all are in the engine."""
        return None if self._kernels is None else bytes(self._kernels.serialize())

    def free(self) -> None:
        """Let go of it, after its contexts; in this order, as each uses the next."""
        self._kernels = self._settings = None
        self._engine = None
        self._runtime = None

    def _failed(self, what: str) -> BackendError:
        reason = self._library.log.first_error() or "no reason given"
        return BackendError(f"{self._library.name} {self._library.version} {what}: {reason}")


def device_keys(
    model: ModelFile, options: BackendOptions, library: Library, device: cuda.CudaDevice
) -> list[EngineKey]:
    """List the keys of engines that run on a device, best first; the first is that of an engine built there."""
    if library.needs_device_to_build:
        own = device.name, device.compute_capability, device.multiprocessors
        return [engine_key(model, options, library, *own)]
    # TensorRT for RTX engines are portable; they may have been built elsewhere, for this kind of device or for any.
    return [engine_key(model, options, library, ANY, capability) for capability in (device.compute_capability, ANY)]


def kernels_key(model: ModelFile, options: BackendOptions, library: Library, device: cuda.CudaDevice) -> EngineKey:
    """Return the key of what is compiled of an engine on a device."""
    own = device.name, device.compute_capability, device.multiprocessors
    return replace(engine_key(model, options, library, *own), part="kernels")


def cached_engines(
    model: ModelFile, options: BackendOptions, device: cuda.CudaDevice
) -> Iterator[tuple[bytes, Callable[[], None]]]:
    """Yield the engines of a model for a device that are in the cache, best first, each with what removes it from there."""
    cache = _cache(options)
    if cache is None:
        return
    for key in device_keys(model, options, load_library(), device):
        engine = cache.load(key)
        if engine is not None:
            yield engine, lambda key=key: cache.remove(key)  # type: ignore[misc]


def build_for_device(model: ModelFile, options: BackendOptions, device: cuda.CudaDevice) -> bytes:
    """Build the engine of a model on a device and keep it; a cache that cannot be written costs only a warning."""
    library = load_library()
    logger.info("building the %s engine of %s; it is kept for the next time", library.name, model.path)
    cuda.check(cuda.bindings().cudaSetDevice(device.id))
    capability = ANY if library.needs_device_to_build else CURRENT
    engine = build_engine(model, options, compute_capability=capability, progress=options.build_progress)
    _keep(options, device_keys(model, options, library, device)[0], engine)
    return engine


def open_engine(model: ModelFile, options: BackendOptions, device: cuda.CudaDevice) -> LoadedEngine:
    """Load the best engine that the cache has, else build one; what does not load is removed. Raises BackendError."""
    library = load_library()
    for data, remove in cached_engines(model, options, device):
        try:
            return LoadedEngine(library, data)
        except BackendError as error:  # such as after an update of the driver
            remove()
            logger.warning("%s; it is removed, and the next one is tried, or it is built again", error)
    return LoadedEngine(library, build_for_device(model, options, device))


def load_kernels(model: ModelFile, options: BackendOptions, device: cuda.CudaDevice) -> bytes | None:
    """Return the kernels that `store_kernels` kept for a device, or None."""
    library, cache = load_library(), _cache(options)
    if library.needs_device_to_build or cache is None:
        return None
    return cache.load(kernels_key(model, options, library, device))


def store_kernels(model: ModelFile, options: BackendOptions, device: cuda.CudaDevice, kernels: bytes) -> None:
    """Keep compiled kernels beside the engine; a cache that cannot be written costs only a warning."""
    _keep(options, kernels_key(model, options, load_library(), device), kernels)


def _cache(options: BackendOptions) -> EngineCache | None:
    try:
        return EngineCache(options.cache_dir)
    except BackendError as error:
        logger.warning("%s", error)
        return None


def _keep(options: BackendOptions, key: EngineKey, data: bytes) -> None:
    try:
        EngineCache(options.cache_dir).store(key, data)
    except BackendError as error:
        logger.warning("the engine is not kept: %s", error)
