"""A runtime that works until the file $FAULT_FILE names a fault; read before every opening and inference.

An opening that hangs, for ever or for some seconds, makes the file $FAULT_FILE.opening when it begins.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np

from lwseg_ros.backends.base import BackendOptions, Probe
from lwseg_ros.backends.onnxruntime import OnnxRuntimeBackend
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile


def probe(options: BackendOptions) -> Probe:
    return Probe(available=True, expected=True, detail="faulty")


def open(model: ModelFile, options: BackendOptions) -> FaultyBackend:
    fail_to_open()
    return FaultyBackend(model, options)


def fail_to_open() -> None:
    match fault().split():
        case ["open", "hangs", *seconds]:
            Path(os.environ["FAULT_FILE"] + ".opening").touch()
            hang(int(seconds[0]) if seconds else 3600)
        case ["open", "fails"]:
            raise BackendError("no such luck")


class FaultyBackend(OnnxRuntimeBackend):
    """ONNX Runtime with the faults: hang (for ever), hang SECONDS, raise, foreign id, other dtype, other shape."""

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        label, uncertainty = super().infer(images)
        match fault().split():
            case ["hang", *seconds]:
                hang(int(seconds[0]) if seconds else 3600)
            case ["raise"]:
                raise RuntimeError("the engine broke")
            case ["foreign", "id"]:
                label[-1, 3, 7] = 77
            case ["other", "dtype"]:
                label = label.astype(np.int64)
            case ["other", "shape"]:
                uncertainty = uncertainty[:, ::2]
        return label, uncertainty


def fault() -> str:
    try:
        return Path(os.environ["FAULT_FILE"]).read_text()
    except FileNotFoundError:
        return ""


def hang(seconds: int) -> None:
    """Stay in a C call, which no signal or exception of Python's ends."""
    ctypes.CDLL(None).sleep(seconds)
