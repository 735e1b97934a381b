"""From a model file to a TensorRT engine, with whichever TensorRT is installed. Needs no GPU with TensorRT for RTX."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from lwseg_ros.backends.base import BackendOptions
from lwseg_ros.backends.engine_cache import ANY, EngineKey
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile

# The full library first: where it is installed it was built for the very device.
LIBRARIES = ("tensorrt", "tensorrt_rtx")
MISSING = "neither `tensorrt` nor `tensorrt_rtx` is installed; it comes with JetPack or DRIVE OS, or `pip install 'lwseg_ros[rtx]'`"
Progress = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """An imported TensorRT. name: "tensorrt" or "tensorrt_rtx". log: collects its messages."""

    name: str
    module: Any
    log: Any

    @property
    def version(self) -> str:
        """Return its version."""
        return str(self.module.__version__)

    @property
    def needs_device_to_build(self) -> bool:
        """Tell whether engines are tuned on the device itself."""
        return self.name == "tensorrt"


def installed_library() -> str | None:
    """Name the TensorRT that would be used, without importing it."""
    return next((name for name in LIBRARIES if _is_installed(name)), None)


def _is_installed(name: str) -> bool:
    """Tell whether there is such a package; an empty folder of its name, as an uninstallation leaves, has no origin."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


@functools.cache  # the library keeps the first logger it is given for the life of the process
def load_library() -> Library:
    """Import TensorRT; raises BackendUnavailableError."""
    failures = []
    for name in LIBRARIES:
        if not _is_installed(name):
            continue
        try:
            module = importlib.import_module(name)
            return Library(name, module, _collecting_logger(module))
        except Exception as error:  # shared libraries may be missing, or half of the package
            failures.append(f"{name} is installed but cannot be imported ({error})")
    raise BackendUnavailableError("; ".join(failures) or MISSING)


def start(library: Library, kind: str) -> Any:
    """Make the library's "Builder" or "Runtime"; raises BackendError where it cannot start, as with a driver too old for it."""
    library.log.errors.clear()
    try:
        return getattr(library.module, kind)(library.log)
    except TypeError as error:  # how its bindings say that they were given nothing
        raise BackendError(
            f"{library.name} {library.version} cannot start: {library.log.last_error() or error}; "
            "check that the driver is one for this version"
        ) from error


def engine_key(
    model: ModelFile, options: BackendOptions, library: Library, gpu: str = ANY, compute_capability: str = ANY
) -> EngineKey:
    """Return what an engine built by `build_engine` depends on."""
    return EngineKey(
        model_sha256=model.sha256,
        library=library.name,
        library_version=library.version,
        gpu=gpu,
        compute_capability=compute_capability,
        precision=model.manifest.precision,
        min_batch=1,
        opt_batch=options.max_batch,
        max_batch=options.max_batch,
    )


def build_engine(
    model: ModelFile, options: BackendOptions, *, compute_capability: str = ANY, progress: Progress | None = None
) -> bytes:
    """Build the engine of a model file.

    compute_capability: of the device to build for, such as "8.9"; for TensorRT for RTX only. ANY builds for every device
    that it supports. progress: called with phase, step and number of steps. Raises BackendUnavailableError or
    BackendError.
    """
    library = load_library()
    trt = library.module
    builder = start(library, "Builder")
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, library.log)
    if not parser.parse(model.data):
        reasons = "; ".join(_described(parser.get_error(index)) for index in range(parser.num_errors))
        raise BackendError(f"{library.name} {library.version} cannot read {model.path}: {reasons}")
    config = builder.create_builder_config()
    # TF32 rounds to 10 bits; a model file that says fp32 gets fp32, and one for speed is exported in fp16.
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    shape = (*model.manifest.input_size_hw, 3)
    profile.set_shape("image", (1, *shape), (options.max_batch, *shape), (options.max_batch, *shape))
    config.add_optimization_profile(profile)
    if compute_capability != ANY:
        _target(trt, config, compute_capability)
    if progress is not None and hasattr(trt, "IProgressMonitor"):
        monitor = _progress_monitor(trt, progress)  # a local, as the config does not keep it alive
        config.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BackendError(
            f"{library.name} {library.version} cannot build {model.path}: {library.log.last_error() or 'no reason given'}"
        )
    return bytes(serialized)


def _described(error: Any) -> str:
    return f"{error.desc()} (operator {error.node_operator()}, node {error.node_name()!r})"


def _network_flags(trt: ModuleType) -> int:
    """Ask for a strongly typed network where that is a choice: from TensorRT 11 on it is the only kind."""
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def _target(trt: Any, config: Any, compute_capability: str) -> None:
    known = getattr(trt, "ComputeCapability", None)
    if known is None:
        raise BackendError(
            f"this TensorRT builds for its own device only, not for compute capability {compute_capability}"
        )
    target = getattr(known, "SM" + compute_capability.replace(".", ""), None)
    if target is None:
        names = sorted(f"{name[2:-1]}.{name[-1]}" for name in dir(known) if name.startswith("SM"))
        raise BackendError(f"compute capability {compute_capability!r} is none of {', '.join(names)}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(target, 0)


def _collecting_logger(trt: Any) -> Any:
    """Make a TensorRT logger that hands on to `logging` and remembers errors for exceptions."""
    errors = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)

    class CollectingLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # Its errors reach the caller in an exception; the log keeps them and all else for whoever looks closer.
            logger.debug("%s", message)
            if severity in errors:
                self.errors.append(message)

        def last_error(self) -> str:
            return self.errors[-1] if self.errors else ""

    return CollectingLogger()


def _progress_monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps[phase_name])
            return True

        def phase_finish(self, phase_name: str) -> None:
            progress(phase_name, self.steps[phase_name], self.steps[phase_name])

    return Monitor()
