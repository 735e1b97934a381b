"""Whether an exported graph gives what the network in PyTorch gives, in each runtime that is installed here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx

from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.evaluator import Prediction

Precision = Literal["fp32", "fp16"]
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

REFERENCE = "onnxruntime"
MIN_EQUAL_LABELS = 0.999
MAX_UNCERTAINTY_DIFFERENCE: dict[Precision, int] = {"fp32": 2, "fp16": 16}
"""Half precision rounds logits to 11 bits: a confidence may move by a few levels where the label does not."""


class ParityError(LwsegError):
    """An exported model gives other results than the network it was made of."""


@dataclass(frozen=True)
class Parity:
    """How far the exported graph is from PyTorch: share of equal labels, and the largest uncertainty difference of 255."""

    equal_labels: float
    uncertainty_difference: int
    images: int

    def check(self, precision: Precision, runtime: str = REFERENCE) -> None:
        """Raise ParityError where that is further than a graph of this precision may be."""
        allowed = MAX_UNCERTAINTY_DIFFERENCE[precision]
        if self.equal_labels < MIN_EQUAL_LABELS or self.uncertainty_difference > allowed:
            raise ParityError(
                f"in {runtime} the exported graph gives the labels of PyTorch on {self.equal_labels:.4%} of the pixels (at least "
                f"{MIN_EQUAL_LABELS:.1%} is demanded) and uncertainties up to {self.uncertainty_difference}/255 away (at most "
                f"{allowed} is allowed); nothing was written"
            )


@dataclass
class _Counts:
    """What one runtime gave so far."""

    run: Run
    equal: int = field(default=0)
    pixels: int = field(default=0)
    difference: int = field(default=0)
    images: int = field(default=0)


class ParityCheck:
    """Runs an exported graph in ONNX Runtime, and in OpenVINO where that is installed, image by image, in the graph's own
    precision, and compares with what PyTorch predicts.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        data = model.SerializeToString()
        self._runtimes = {REFERENCE: _Counts(_onnxruntime(data))}
        if importlib.util.find_spec("openvino") is not None:
            self._runtimes["openvino"] = _Counts(_openvino(data))

    def add(self, image: np.ndarray, reference: Prediction) -> None:
        """Compare on an image uint8 BGR [H, W, 3], with PyTorch's prediction, uncertainty included, in the image's pixels."""
        assert reference.uncertainty is not None
        for counts in self._runtimes.values():
            label, uncertainty = counts.run(image)
            counts.equal += int((label == reference.label).sum())
            counts.pixels += label.size
            difference = np.abs(uncertainty.astype(np.int16) - reference.uncertainty)
            counts.difference = max(counts.difference, int(difference.max()))
            counts.images += 1

    def check(self, precision: Precision) -> None:
        """Raise ParityError, which names it, where a runtime is further from PyTorch than a graph of this precision may be."""
        for name in self._runtimes:
            self.parity_in(name).check(precision, name)

    @property
    def parity(self) -> Parity:
        """How far apart PyTorch and ONNX Runtime, the reference of all runtimes, were on the images added."""
        return self.parity_in(REFERENCE)

    def parity_in(self, runtime: str) -> Parity:
        """How far apart PyTorch and a runtime were on the images added."""
        counts = self._runtimes[runtime]
        return Parity(counts.equal / counts.pixels, counts.difference, counts.images)


def _onnxruntime(data: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        label, uncertainty = session.run(["label", "uncertainty"], {"image": image[None]})
        return label[0], uncertainty[0]

    return run


def _openvino(data: bytes) -> Run:
    """In fp32, where the node mixes in bf16: a rounding that is OpenVINO's is no fault of the graph."""

    core = shared_core()
    compiled = core.compile_model(core.read_model(data, b""), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    names = [output.get_any_name() for output in compiled.outputs]

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        results = request.infer({0: image[None]})
        return results[names.index("label")][0], results[names.index("uncertainty")][0]

    return run
