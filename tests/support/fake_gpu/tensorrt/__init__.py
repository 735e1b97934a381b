"""As much of TensorRT as the backend uses, on the fake GPU: an engine is the ONNX file, run by ONNX Runtime."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

__version__ = "10.3.0"
NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
BuilderFlag = SimpleNamespace()


class ILogger:
    INTERNAL_ERROR, ERROR = 0, 1


class OnnxParser:
    num_errors = 0

    def __init__(self, network: SimpleNamespace, log: ILogger) -> None:
        self._network = network

    def parse(self, data: bytes) -> bool:
        self._network.data = data
        return True


class Builder:
    def __init__(self, log: ILogger) -> None:
        pass

    def create_network(self, flags: int) -> SimpleNamespace:
        return SimpleNamespace()

    def create_builder_config(self) -> SimpleNamespace:
        return SimpleNamespace(add_optimization_profile=lambda profile: 0)

    def create_optimization_profile(self) -> SimpleNamespace:
        return SimpleNamespace(set_shape=lambda name, *shapes: None)

    def build_serialized_network(self, network: SimpleNamespace, config: Any) -> bytes:
        return bytes(network.data)


class Runtime:
    def __init__(self, log: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, data: bytes) -> SimpleNamespace:
        return SimpleNamespace(create_execution_context=lambda: Context(data))


class Context:
    def __init__(self, data: bytes) -> None:
        self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self._addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return True

    def execute_async_v3(self, stream: int) -> bool:
        outputs = self._session.run(["label", "uncertainty"], {"image": self._at("image", self._shape)})
        for name, values in zip(("label", "uncertainty"), outputs, strict=True):
            self._at(name, values.shape)[:] = values
        return True

    def _at(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        memory = (ctypes.c_uint8 * int(np.prod(shape))).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).reshape(shape)
