"""As much of TensorRT as the backend uses, on the fake GPU: an engine is the ONNX file, run by ONNX Runtime as one kernel.

Faithful in what can go wrong in Python: a garbled engine gives None and two errors in the log, of which the first is the cause;
a context runs only with a profile, a shape within it and an address, aligned to 256 bytes, for every tensor; its first run
cannot be captured into a CUDA graph; and a graph whose context was changed after the capture, which TensorRT leaves undefined,
is an illegal access here. A build of $FAKE_BUILD_STEPS steps takes 0.1 s for each. Not faithful: time, memory, arithmetic
(ONNX Runtime's on a CPU), and everything that a builder refuses.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from cuda.bindings import runtime as cudart

__version__ = "10.3.0"
NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
BuilderFlag = SimpleNamespace(TF32=7)
HEADER = struct.Struct("<I")
ALIGNMENT = 256
OUTPUTS = ("label", "uncertainty")
spoil_outputs: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
"""What a faulty device makes of label and uncertainty; to be set by a test."""
spoil_image: Callable[[np.ndarray], np.ndarray] | None = None
refuse_launches: list[str] = []
"""Messages of launches that are going to fail, the next one first."""


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class OnnxParser:
    num_errors = 0

    def __init__(self, network: SimpleNamespace, log: ILogger) -> None:
        self._network = network

    def parse(self, data: bytes) -> bool:
        onnx.checker.check_model(data)
        self._network.data = data
        return True


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, name: str, least: tuple, best: tuple, most: tuple) -> None:  # type: ignore[type-arg]
        if not all(a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
            raise ValueError("min <= opt <= max does not hold")
        self.shapes[name] = (tuple(least), tuple(best), tuple(most))


class BuilderConfig:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.progress_monitor: Any = None

    def clear_flag(self, flag: int) -> None:
        pass

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class Builder:
    def __init__(self, log: ILogger) -> None:
        self._log = log

    def create_network(self, flags: int) -> SimpleNamespace:
        return SimpleNamespace()

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: SimpleNamespace, config: BuilderConfig) -> bytes | None:
        if not self._goes_on(config.progress_monitor):
            self._log.log(ILogger.ERROR, "the build was cancelled")
            return None
        header = json.dumps({"profiles": [profile.shapes["image"] for profile in config.profiles]}).encode()
        return HEADER.pack(len(header)) + header + bytes(network.data)

    @staticmethod
    def _goes_on(monitor: Any) -> bool:
        if monitor is None:
            return True
        steps = int(os.environ.get("FAKE_BUILD_STEPS", "3"))
        monitor.phase_start("Building Engine", None, steps)
        goes_on = True
        for step in range(steps):
            goes_on = goes_on and monitor.step_complete("Building Engine", step)
            if steps > 3 and goes_on:
                time.sleep(0.1)
        monitor.phase_finish("Building Engine")
        return goes_on


class Runtime:
    engine_type: type[Engine]

    def __init__(self, log: ILogger) -> None:
        self._log = log

    def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
        try:
            (length,) = HEADER.unpack_from(data)
            header = json.loads(data[HEADER.size : HEADER.size + length])
            return self.engine_type(self._log, header["profiles"], data[HEADER.size + length :])
        except (struct.error, ValueError):
            self._log.log(ILogger.ERROR, "the magic number of the engine does not fit")
            self._log.log(ILogger.ERROR, "deserialization failed")
            return None


class Engine:
    def __init__(self, log: ILogger, profiles: list[Any], data: bytes) -> None:
        self.log = log
        self.profiles = profiles
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def create_execution_context(self, strategy: Any = ExecutionContextAllocationStrategy.STATIC) -> Context:
        if not isinstance(strategy, ExecutionContextAllocationStrategy):
            raise TypeError(f"expected ExecutionContextAllocationStrategy, not {type(strategy).__name__}")
        return Context(self)


Runtime.engine_type = Engine


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._profile = 0
        self._shape: tuple[int, ...] | None = None
        self._addresses: dict[str, int] = {}
        self._changes = 0
        self._has_run = False

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if not 0 <= int(index) < len(self._engine.profiles):
            return self._refuse(f"there is no profile {index}")
        self._changes += 1
        self._profile, self._shape = int(index), None
        cudart.launch_kernel(int(stream), "profile", lambda: cudart.cudaError_t.cudaSuccess)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in ("image", *OUTPUTS) or int(address) % ALIGNMENT:
            return self._refuse(f"{name} at {address:#x}: unknown, or not aligned to {ALIGNMENT} bytes")
        self._changes += 1
        self._addresses[name] = int(address)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.profiles[self._profile]
        if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            return self._refuse(f"the shape {shape} is outside of profile {self._profile}")
        self._changes += 1
        self._shape = tuple(shape)
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if refuse_launches:
            return self._refuse(refuse_launches.pop(0))
        missing = [name for name in ("image", *OUTPUTS) if name not in self._addresses]
        if missing or self._shape is None:
            return self._refuse(f"not set: {', '.join(missing) or 'the shape of image'}")
        if cudart.is_capturing(int(stream)) and not self._has_run:
            cudart.invalidate_capture(int(stream))
        self._has_run = True
        shape, addresses = self._shape, dict(self._addresses)
        captured_at = self._changes if cudart.is_capturing(int(stream)) else None
        error = cudart.launch_kernel(int(stream), "run", lambda: self._run(shape, addresses, captured_at))
        return not error or self._refuse(f"the launch failed: {error.name}")

    def _run(self, shape: tuple[int, ...], addresses: dict[str, int], captured_at: int | None) -> Any:
        try:
            sizes = {"image": int(np.prod(shape))} | dict.fromkeys(OUTPUTS, int(np.prod(shape[:3])))
            seen = {name: np.ctypeslib.as_array(cudart.device_memory(addresses[name], sizes[name])) for name in sizes}
        except LookupError:
            return cudart.cudaError_t.cudaErrorIllegalAddress
        if captured_at not in (None, self._changes):
            return cudart.cudaError_t.cudaErrorIllegalAddress
        image = seen["image"].reshape(shape)
        label, uncertainty = self._engine.session.run(
            list(OUTPUTS), {"image": np.ascontiguousarray(spoil_image(image) if spoil_image else image)}
        )
        if spoil_outputs:
            label, uncertainty = spoil_outputs(label, uncertainty)
        seen["label"][:], seen["uncertainty"][:] = label.reshape(-1), uncertainty.reshape(-1)
        return cudart.cudaError_t.cudaSuccess

    def _refuse(self, message: str) -> bool:
        self._engine.log.log(ILogger.ERROR, message)
        self._engine.log.log(ILogger.ERROR, "execution failed")
        return False
