"""OpenVINO on the CPU: the fastest runtime where there is no CUDA device.

cpu_precision: "fp32" gives the model's own arithmetic; "bf16" is the fastest where the processor has it; "auto" mixes the
two where the processor has bf16, so that labels stay those of fp32 on 99.9 % of the pixels, and is fp32 elsewhere. What an
int8 model leaves in floating point is bf16 only where that is asked for.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np

from lwseg_ros.backends import openvino_colours, openvino_mixed
from lwseg_ros.backends.base import Backend, BackendOptions, Probe, check_images
from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile

MISSING = "the Python package openvino is not installed; `pip install 'lwseg_ros[cpu]'`"
CPU_INFO = Path("/proc/cpuinfo")
INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Of processors that multiply 8-bit integers faster than they do floats, and add them up in 32 bits, so that nothing saturates."""
ELEMENT_TYPES = {"fp32": "f32", "bf16": "bf16"}

logger = logging.getLogger(__name__)


def probe(options: BackendOptions) -> Probe:
    """Look for the library; any CPU will do."""
    if importlib.util.find_spec("openvino") is None:
        return Probe(available=False, expected=True, detail=MISSING)
    return Probe(available=True, expected=True, detail="on the CPU")


def preferred_precisions(options: BackendOptions) -> tuple[str, ...]:
    """Prefer int8 where the processor has instructions for it."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return ("int8",) if INT8_FLAGS.intersection(flags) else ()


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
        self._request: Any = None
        self._tail: Any = None
        self._reversed: np.ndarray | None = None
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if options.num_threads:
            config["INFERENCE_NUM_THREADS"] = options.num_threads
        try:
            core = shared_core()
            self.device: str = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
            has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            float_precision = options.cpu_precision
            if float_precision == "bf16" and not has_bf16:
                raise BackendError(f"{self.device} has no bf16; use cpu_precision auto or fp32")
            if float_precision == "auto":
                # Of an int8 model all layers that matter for speed are int8.
                mixed = has_bf16 and model.manifest.precision != "int8" and self._open_mixed(core, model.data, config)
                float_precision = "bf16+fp32" if mixed else "fp32"
            if self._request is None:
                hint = {"INFERENCE_PRECISION_HINT": ELEMENT_TYPES[float_precision]}
                self._request = core.compile_model(
                    self._read(core, model.data), "CPU", config | hint
                ).create_infer_request()
        except RuntimeError as error:
            raise BackendError(f"openvino {self.library_version} cannot open {model.path}: {error}") from error
        self.precision = "int8" if model.manifest.precision == "int8" else float_precision
        outputs = (self._tail or self._request).get_compiled_model().outputs
        names = [output.get_any_name() for output in outputs]
        self._label, self._uncertainty = names.index("label"), names.index("uncertainty")

    def _read(self, core: Any, data: bytes) -> Any:
        """Read the model without the reversal of colours, for which there is room then."""
        graph = core.read_model(data, b"")
        if openvino_colours.take_out_reversal(graph):
            self._reversed = np.empty((self._max_batch, *self._input_size_hw, 3), np.uint8)
        return graph

    def _open_mixed(self, core: Any, data: bytes, config: dict[str, Any]) -> bool:
        """Open body and tail of the model in mixed precision; returns False, changing nothing, where that fails."""
        try:
            parts = openvino_mixed.split_off_tail(self._read(core, data))
            if parts is None:
                return False
            body = openvino_mixed.keep_fine_layers(core, parts[0])
            compiled = core.compile_model(body, "CPU", config | {"INFERENCE_PRECISION_HINT": "bf16"})
            if not openvino_mixed.keeps_fp32(compiled):
                return False
            compiled_tail = core.compile_model(parts[1], "CPU", config | {"INFERENCE_PRECISION_HINT": "f32"})
            request, tail = compiled.create_infer_request(), compiled_tail.create_infer_request()
        except (RuntimeError, OSError) as error:  # an OpenVINO that cannot, or no place for its temporary files
            logger.warning("no mixed precision, running in fp32: %s", error)
            return False
        self._request, self._tail = request, tail
        return True

    def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Segment a batch; see `base.Backend.infer`."""
        if self._request is None:
            raise BackendError("the openvino backend is closed")
        check_images(images, self._input_size_hw, self._max_batch)
        if self._reversed is not None:
            images = openvino_colours.reverse(images, self._reversed[: len(images)])
        try:
            if self._tail is None:
                # Read where they are; the outputs, a request's own memory, are copied out once.
                results = self._request.infer({0: images}, share_inputs=True, share_outputs=False)
            else:
                logits = self._request.infer({0: images}, share_inputs=True, share_outputs=True)[0]
                results = self._tail.infer({0: logits}, share_inputs=True, share_outputs=False)
        except RuntimeError as error:
            raise BackendError(f"openvino {self.library_version} failed: {error}") from error
        return results[self._label], results[self._uncertainty]

    def close(self) -> None:
        """Free the compiled model; again is harmless."""
        self._request = self._tail = None
