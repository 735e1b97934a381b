"""How a converted file compares with the one it was made of: labels and mIoU, in each runtime of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from lwseg_ros.backends import BACKENDS, BackendOptions, load_runtime, open_backend
from lwseg_ros.datasets import Split, read_pair
from lwseg_ros.errors import BackendUnavailableError, DatasetError
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter
from lwseg_training.export.parity import ParityError

MAX_MIOU_LOSS = 0.005
MIN_EQUAL_LABELS = {"fp16": 0.999, "int8": 0.98}
"""Of photos. Rounding to 8 bits changes the labels of pixels whose two best classes are nearly equal, and runtimes round in
different orders: on images without any texture, which no threshold is meant for, most pixels are such."""
FIGURES = ("miou", "pixel_accuracy", "ece", "auroc")


@dataclass(frozen=True)
class RuntimeComparison:
    """A converted file against its parent in one runtime, both as the node opens them.

    library_version: of the runtime. precision, parent_precision: of the arithmetic that ran. equal_labels: share of pixels with the
    parent's label. miou: of the converted file. miou_change: less the parent's.
    """

    library_version: str
    precision: str
    parent_precision: str
    equal_labels: float
    miou: float
    miou_change: float

    def fault(self, precision: str) -> str | None:
        """Say what is wrong with it for a file of a precision, None where nothing is."""
        if self.equal_labels < MIN_EQUAL_LABELS[precision]:
            return (
                f"gives the labels of the file it was made of on {self.equal_labels:.4%} of the pixels, at least "
                f"{MIN_EQUAL_LABELS[precision]:.1%} is demanded"
            )
        if self.loses_too_much:
            return f"loses {-self.miou_change:.4f} mIoU, at most {MAX_MIOU_LOSS} is allowed"
        return None

    @property
    def loses_too_much(self) -> bool:
        """Whether the loss of mIoU is beyond MAX_MIOU_LOSS."""
        return -self.miou_change > MAX_MIOU_LOSS


@dataclass(frozen=True)
class Comparison:
    """runtimes: by name. figures: the converted file's on the split, in the last of them, which is the reference."""

    runtimes: dict[str, RuntimeComparison]
    figures: dict[str, float]

    def check(self, precision: str) -> None:
        """Raise ParityError that names every runtime in which a file of this precision is not good enough."""
        faults = [f"{name} {fault}" for name, entry in self.runtimes.items() if (fault := entry.fault(precision))]
        if faults:
            raise ParityError(f"the {precision} file in {'; in '.join(faults)}; nothing was written")

    def to_manifest(self) -> dict[str, Any]:
        """Return the runtimes as the manifest's `parent` has them."""
        return {name: _rounded(asdict(entry)) for name, entry in self.runtimes.items()}


def compare(parent: ModelFile, converted: ModelFile, split: Split, num_threads: int = 0) -> Comparison:
    """Compare on every image of a split, in every runtime that this machine can run. Shows progress on stderr.

    num_threads: of runtimes on the CPU; 0 lets them decide. Raises BackendError where one of them does not open a file,
    DatasetError where an image cannot be read, or there is none, and BackendUnavailableError without any runtime: a file that was
    compared with nothing would pass.
    """
    options = BackendOptions(num_threads=num_threads)
    names = [name for name in BACKENDS if load_runtime(name).probe(options).available]
    if not names:
        raise BackendUnavailableError("no runtime is there to compare in; pip install 'lwseg_ros[cpu]'")
    if not split.pairs:
        raise DatasetError(f"{split.dataset} {split.split} has no images to compare on; name another --split")
    runtimes: dict[str, RuntimeComparison] = {}
    figures: dict[str, float] = {}
    for name in names:
        with ExitStack() as stack:
            segmenters = [
                stack.enter_context(Segmenter(model, open_backend(model, name, options)))
                for model in (parent, converted)
            ]
            evaluators = [Evaluator.of_model(model.manifest) for model in (parent, converted)]
            equal = pixels = 0
            for image, label in _pairs(split, f"comparing in {name}"):
                labels = []
                for segmenter, evaluator in zip(segmenters, evaluators, strict=True):
                    segmentation = segmenter.segment([image])[0]
                    evaluator.add(Prediction(segmentation.label, segmentation.uncertainty), label)
                    labels.append(segmentation.label)
                equal += int(np.count_nonzero(labels[0] == labels[1]))
                pixels += labels[0].size
            of_parent, of_converted = (_figures(evaluator) for evaluator in evaluators)
            runtimes[name] = RuntimeComparison(
                segmenters[1].backend.library_version,
                segmenters[1].backend.precision,
                segmenters[0].backend.precision,
                equal / pixels,
                of_converted["miou"],
                of_converted["miou"] - of_parent["miou"],
            )
            figures = of_converted
    return Comparison(runtimes, _rounded(figures))


def miou(model: ModelFile, pairs: Sequence[tuple[np.ndarray, np.ndarray]], num_threads: int = 0) -> float:
    """Return a model file's mIoU on images and labels in ONNX Runtime."""
    evaluator = Evaluator.of_model(model.manifest)
    options = BackendOptions(num_threads=num_threads)
    with Segmenter(model, open_backend(model, "onnxruntime", options)) as segmenter:
        for image, label in pairs:
            segmentation = segmenter.segment([image])[0]
            evaluator.add(Prediction(segmentation.label, segmentation.uncertainty), label)
    return _figures(evaluator)["miou"]


def _pairs(split: Split, doing: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for pair in tqdm(split.pairs, desc=f"{doing} on {split.split}", unit="image", file=sys.stderr, mininterval=0.5):
        yield read_pair(*pair)


def _figures(evaluator: Evaluator) -> dict[str, float]:
    metrics = evaluator.metrics()
    metrics.update(metrics.pop("uncertainty"))
    return {name: metrics[name] for name in FIGURES if metrics[name] is not None}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}
