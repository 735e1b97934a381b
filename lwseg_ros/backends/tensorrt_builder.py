"""From a model file to a TensorRT engine, with whichever TensorRT is installed. Needs no GPU with TensorRT for RTX."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import onnx
from onnx import TensorProto

from lwseg_ros.backends.base import BackendOptions, BuildProgress
from lwseg_ros.backends.engine_cache import ANY, EngineKey
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile

# The full library first: where it is installed it was built for the very device.
LIBRARIES = ("tensorrt", "tensorrt_rtx")
OLDEST_TENSORRT = 10
MISSING = "neither `tensorrt` nor `tensorrt_rtx` is installed; it comes with JetPack or DRIVE OS, or `pip install 'lwseg_ros[rtx]'`"
# The compute capability of the device that is there.
CURRENT = "current"

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
            if name == "tensorrt" and int(module.__version__.split(".")[0]) < OLDEST_TENSORRT:
                failures.append(
                    f"tensorrt {module.__version__} is too old, expected {OLDEST_TENSORRT} or later; JetPack 6 brings 10.3"
                )
                continue
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
            f"{library.name} {library.version} cannot start: {library.log.first_error() or error}; "
            "check that the driver is one for this version"
        ) from error


def engine_key(
    model: ModelFile,
    options: BackendOptions,
    library: Library,
    gpu: str = ANY,
    compute_capability: str = ANY,
    multiprocessors: int = 0,
) -> EngineKey:
    """Return what an engine built by `build_engine` depends on."""
    return EngineKey(
        model_sha256=model.sha256,
        library=library.name,
        library_version=library.version,
        gpu=gpu,
        compute_capability=compute_capability,
        multiprocessors=multiprocessors,
        precision=model.manifest.precision,
        max_batch=options.max_batch,
    )


def build_engine(
    model: ModelFile, options: BackendOptions, *, compute_capability: str = ANY, progress: BuildProgress | None = None
) -> bytes:
    """Build the engine of a model file, with an optimisation profile of its own for every size of a batch: number n - 1 is for n.

    compute_capability: of the device to build for, such as "8.9", or CURRENT; for TensorRT for RTX only. ANY builds for
    every device that it supports. Raises BackendUnavailableError or BackendError.
    """
    check_zero_points(model)
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
    for number in range(1, options.max_batch + 1):
        profile = builder.create_optimization_profile()
        shape = (number, *model.manifest.input_size_hw, 3)
        profile.set_shape("image", shape, shape, shape)
        config.add_optimization_profile(profile)
    if compute_capability != ANY:
        _target(trt, config, compute_capability)
    monitor = None
    if progress is not None and hasattr(trt, "IProgressMonitor"):
        monitor = _progress_monitor(trt, progress)  # a local, as the config does not keep it alive
        config.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.interrupted:
        raise BackendError(f"building the engine of {model.path} was interrupted")
    if serialized is None:
        raise BackendError(
            f"{library.name} {library.version} cannot build {model.path}: {library.log.first_error() or 'no reason given'}"
        )
    return bytes(serialized)


def check_zero_points(model: ModelFile) -> None:
    """Refuse a model that is quantized to UINT8, which TensorRT reads as INT8 without an error; raises BackendError.

    Without a zero point QuantizeLinear gives UINT8, unless its `output_dtype` says another type.
    """
    graph = onnx.load_model_from_string(model.data).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            types[node.output[0]] = next(
                (attribute.t.data_type for attribute in node.attribute if attribute.HasField("t")), 0
            )
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        zero_point = node.input[2] if len(node.input) > 2 else ""
        quantized = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
        output_dtype = next((attribute.i for attribute in node.attribute if attribute.name == "output_dtype"), 0)
        if zero_point:
            is_uint8 = types.get(zero_point) == TensorProto.UINT8
        elif node.op_type == "QuantizeLinear":
            is_uint8 = output_dtype in (0, TensorProto.UINT8)
        else:
            is_uint8 = types.get(quantized) == TensorProto.UINT8
        if is_uint8:
            raise BackendError(
                f"{model.path} is quantized to UINT8 at {zero_point or quantized!r}, which TensorRT takes for INT8; "
                "quantize it to INT8: `lwseg quantize` does"
            )


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
    name = "CURRENT" if compute_capability == CURRENT else "SM" + compute_capability.replace(".", "")
    target = getattr(known, name, None)
    if target is None:
        names = sorted(f"{name[2:-1]}.{name[-1]}" for name in dir(known) if name.startswith("SM"))
        raise BackendError(f"compute capability {compute_capability!r} is none of {', '.join(names)}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(target, 0)


def _collecting_logger(trt: Any) -> Any:
    """Make a TensorRT logger that hands on to `logging` and remembers errors for exceptions."""
    severities = trt.ILogger.Severity
    errors = (severities.INTERNAL_ERROR, severities.ERROR)

    class CollectingLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            # Its errors reach the caller in an exception; the log keeps them for whoever looks closer.
            logger.log(logging.WARNING if severity == severities.WARNING else logging.DEBUG, "%s", message)
            if severity in errors:
                self.errors.append(message)

        def first_error(self) -> str:
            """Return the cause; what follows it are consequences."""
            return self.errors[0] if self.errors else ""

    return CollectingLogger()


def _progress_monitor(trt: Any, progress: BuildProgress) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if not progress(phase_name, step + 1, self.steps[phase_name]):
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            if not self.interrupted:
                progress(phase_name, self.steps[phase_name], self.steps[phase_name])

    return Monitor()
