"""ONNX Runtime on the CPU: runs wherever Python does, and is the reference for the other runtimes."""

from __future__ import annotations

import importlib.util

import numpy as np

from lwseg_ros.backends.base import Backend, BackendOptions, Probe, check_images
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile

MISSING = "the Python package onnxruntime is not installed; `pip install 'lwseg_ros[cpu]'`"
LOG_ERRORS_ONLY = 3


def probe(options: BackendOptions) -> Probe:
    """Look for the library; any CPU will do."""
    if importlib.util.find_spec("onnxruntime") is None:
        return Probe(available=False, expected=True, detail=MISSING)
    return Probe(available=True, expected=True, detail="on the CPU")


def preferred_precisions(options: BackendOptions) -> tuple[str, ...]:
    """Prefer none: where this runtime is the one that is left, nothing has been measured to gain by another precision."""
    return ()


def open(model: ModelFile, options: BackendOptions) -> Backend:
    """Open a model; raises BackendUnavailableError or BackendError."""
    return OnnxRuntimeBackend(model, options)


class OnnxRuntimeBackend:
    """A model in ONNX Runtime's CPU provider. See `base.Backend`."""

    name = "onnxruntime"
    device = "CPU"

    def __init__(self, model: ModelFile, options: BackendOptions) -> None:
        """Open the model; raises BackendUnavailableError or BackendError."""
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailableError(f"{MISSING} ({error})") from error
        self.library_version: str = onnxruntime.__version__
        self.precision = model.manifest.precision
        self._input_size_hw = model.manifest.input_size_hw
        self._max_batch = options.max_batch
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.num_threads
        session_options.inter_op_num_threads = 1
        session_options.log_severity_level = LOG_ERRORS_ONLY
        try:
            self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
                model.data, session_options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's errors have no common base
            raise BackendError(f"onnxruntime {self.library_version} cannot open {model.path}: {error}") from error

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment a batch; see `base.Backend.infer`."""
        if self._session is None:
            raise BackendError("the onnxruntime backend is closed")
        check_images(images, self._input_size_hw, self._max_batch)
        try:
            label, uncertainty = self._session.run(["label", "uncertainty"], {"image": images})
        except Exception as error:  # the library's errors have no common base
            raise BackendError(f"onnxruntime {self.library_version} failed: {error}") from error
        return label, uncertainty

    def close(self) -> None:
        """Free the session; again is harmless."""
        self._session = None
