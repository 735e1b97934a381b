"""TensorRT for RTX on the fake GPU: as the fake TensorRT, with what only this one has.

An engine is for the compute capability that it was built for, or for any. A context is set up by a runtime configuration; its first
run of a shape compiles kernels, which the runtime cache holds, and loads none of another library or device.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import tensorrt
from tensorrt import (  # noqa: F401  the parts that both have
    BuilderFlag,
    ExecutionContextAllocationStrategy,
    ILogger,
    IProgressMonitor,
    OnnxParser,
    Severity,
)

__version__ = "1.7.1.116"
CACHE_MAGIC = b"kernels of tensorrt_rtx:"


class NetworkDefinitionCreationFlag:
    """Networks are strongly typed, and nothing can be chosen."""


class ComputeCapability(IntEnum):
    CURRENT = 0
    SM87 = 87
    SM89 = 89


class CudaGraphStrategy(IntEnum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(IntEnum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class BuilderConfig(tensorrt.BuilderConfig):
    num_compute_capabilities = 0

    def set_compute_capability(self, capability: ComputeCapability, index: int) -> bool:
        if not isinstance(capability, ComputeCapability):
            raise TypeError(f"expected ComputeCapability, not {type(capability).__name__}")
        built_for.append(capability)
        return index == 0


class Builder(tensorrt.Builder):
    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()


class RuntimeCache:
    def __init__(self) -> None:
        self.kernels: set[str] = set()

    def deserialize(self, data: bytes) -> bool:
        fits = data.startswith(CACHE_MAGIC)
        if fits:
            self.kernels |= set(data[len(CACHE_MAGIC) :].decode().split())
        return fits

    def serialize(self) -> bytes:
        return CACHE_MAGIC + " ".join(sorted(self.kernels)).encode()


class RuntimeConfig:
    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def __init__(self) -> None:
        self.cache = RuntimeCache()

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        if not isinstance(strategy, ExecutionContextAllocationStrategy):
            raise TypeError(f"expected ExecutionContextAllocationStrategy, not {type(strategy).__name__}")

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class Context(tensorrt.Context):
    def __init__(self, engine: Any, config: RuntimeConfig) -> None:
        super().__init__(engine)
        self._config = config
        configs.append(config)

    def execute_async_v3(self, stream: int) -> bool:
        if not super().execute_async_v3(stream):
            return False
        kernel = "x".join(map(str, self._shape or ()))
        if kernel not in self._config.cache.kernels:
            self._config.cache.kernels.add(kernel)
            compiled.append(kernel)
        return True


class Engine(tensorrt.Engine):
    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: Any = None) -> Context:
        if not isinstance(config, RuntimeConfig):
            raise TypeError(f"expected RuntimeConfig, not {type(config).__name__}")
        return Context(self, config)


class Runtime(tensorrt.Runtime):
    engine_type = Engine


built_for: list[ComputeCapability] = []
"""What engines were built for, in order."""
configs: list[RuntimeConfig] = []
"""What contexts were made with."""
compiled: list[str] = []
"""Shapes that kernels were compiled for."""
