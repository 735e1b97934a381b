"""Whether an exported graph gives what the network in PyTorch gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.evaluator import Prediction

Precision = Literal["fp32", "fp16"]

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

    def check(self, precision: Precision) -> None:
        """Raise ParityError where that is further than a graph of this precision may be."""
        allowed = MAX_UNCERTAINTY_DIFFERENCE[precision]
        if self.equal_labels < MIN_EQUAL_LABELS or self.uncertainty_difference > allowed:
            raise ParityError(
                f"the exported graph gives the labels of PyTorch on {self.equal_labels:.4%} of the pixels (at least "
                f"{MIN_EQUAL_LABELS:.1%} is demanded) and uncertainties up to {self.uncertainty_difference}/255 away (at most "
                f"{allowed} is allowed); nothing was written"
            )


class ParityCheck:
    """Runs an exported graph in ONNX Runtime, image by image, and compares with what PyTorch predicts."""

    def __init__(self, model: onnx.ModelProto) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        self._equal = self._pixels = self._difference = self._images = 0

    def add(self, image: np.ndarray, reference: Prediction) -> None:
        """Compare on an image uint8 BGR [H, W, 3], with PyTorch's prediction, uncertainty included, in the image's pixels."""
        outputs = self._session.run(["label", "uncertainty"], {"image": image[None]})
        label, uncertainty = (output[0] for output in outputs)
        assert reference.uncertainty is not None
        self._equal += int((label == reference.label).sum())
        self._pixels += label.size
        difference = np.abs(uncertainty.astype(np.int16) - reference.uncertainty)
        self._difference = max(self._difference, int(difference.max()))
        self._images += 1

    @property
    def parity(self) -> Parity:
        """How far apart the two were on the images added."""
        return Parity(self._equal / self._pixels, self._difference, self._images)
