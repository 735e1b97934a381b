"""OpenVINO on the CPU: the fastest runtime where there is no CUDA device."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from lwseg_ros.backends.base import Backend, BackendOptions, Probe, check_images
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model import ModelFile

MISSING = "the Python package openvino is not installed; `pip install 'lwseg_ros[cpu]'`"
ELEMENT_TYPES = {"fp32": "f32", "bf16": "bf16"}
PRECISION_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


def probe(options: BackendOptions) -> Probe:
    """Look for the library; any CPU will do."""
    if importlib.util.find_spec("openvino") is None:
        return Probe(available=False, expected=True, detail=MISSING)
    return Probe(available=True, expected=True, detail="on the CPU")


def open(model: ModelFile, options: BackendOptions) -> Backend:
    """Open a model; raises BackendUnavailableError or BackendError."""
    return OpenVinoBackend(model, options)


class OpenVinoBackend:
    """A model in OpenVINO's CPU plugin. See `base.Backend`."""

    name = "openvino"

    def __init__(self, model: ModelFile, options: BackendOptions) -> None:
        """Compile the model; raises BackendUnavailableError or BackendError."""
        try:
            import openvino
        except ImportError as error:
            raise BackendUnavailableError(f"{MISSING} ({error})") from error
        self.library_version: str = openvino.__version__.split("-")[0]
        self._input_size_hw = model.manifest.input_size_hw
        self._max_batch = options.max_batch
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if options.num_threads:
            config["INFERENCE_NUM_THREADS"] = options.num_threads
        if options.cpu_precision != "auto":
            config["INFERENCE_PRECISION_HINT"] = ELEMENT_TYPES[options.cpu_precision]
        try:
            core = openvino.Core()
            self.device: str = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
            compiled = core.compile_model(core.read_model(model.data, b""), "CPU", config)
            running = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            self._request: Any = compiled.create_infer_request()
        except RuntimeError as error:
            raise BackendError(f"openvino {self.library_version} cannot open {model.path}: {error}") from error
        float_precision = PRECISION_NAMES.get(running, running)
        self.precision = "int8" if model.manifest.precision == "int8" else float_precision
        names = [output.get_any_name() for output in compiled.outputs]
        self._label, self._uncertainty = names.index("label"), names.index("uncertainty")

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment a batch; see `base.Backend.infer`."""
        if self._request is None:
            raise BackendError("the openvino backend is closed")
        check_images(images, self._input_size_hw, self._max_batch)
        try:
            # The request reads the images where they are, and its outputs are copied out once: they are its own memory.
            results = self._request.infer({0: images}, share_inputs=True, share_outputs=False)
        except RuntimeError as error:
            raise BackendError(f"openvino {self.library_version} failed: {error}") from error
        return results[self._label], results[self._uncertainty]

    def close(self) -> None:
        """Free the compiled model; again is harmless."""
        self._request = None
