"""A model file in another precision: converted, compared with what it was made of in each runtime, and described."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lwseg_ros.datasets import Split, read_pair
from lwseg_ros.errors import DatasetError, ModelFileError
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.imaging.resizing import resize_image
from lwseg_ros.model.model_file import ModelFile, save_model
from lwseg_training.conversion.comparison import MAX_MIOU_LOSS, Comparison, compare, miou
from lwseg_training.conversion.half import in_half
from lwseg_training.conversion.int8 import quantized

NUM_SCORED = 24
"""Images on which layers are ranked by what they cost: enough to tell the harmful ones, few enough for fifty rounds."""


@dataclass(frozen=True)
class Calibration:
    """What the ranges of int8 are taken from: so many images of a split, drawn with a seed."""

    split: Split
    num_images: int = 100
    seed: int = 0

    def images(self, size_hw: tuple[int, int]) -> list[np.ndarray]:
        """Read the images drawn, uint8 BGR [H, W, 3] at a model's size, in the split's order; raises DatasetError."""
        if not self.split.pairs:
            raise DatasetError(f"{self.split.dataset} {self.split.split} has no images to calibrate on")
        count = min(self.num_images, len(self.split.pairs))
        drawn = np.random.default_rng(self.seed).choice(len(self.split.pairs), count, replace=False)
        return [resize_image(read_pair(*self.split.pairs[index])[0], size_hw) for index in sorted(drawn)]

    def to_manifest(self) -> dict[str, Any]:
        """Describe it as the manifest's `parent` does."""
        return {"split": self.split.split, "images": min(self.num_images, len(self.split.pairs)), "seed": self.seed}


def convert(
    parent: ModelFile, path: Path, validation: Split, calibration: Calibration | None, num_threads: int = 0
) -> tuple[ModelFile, Comparison]:
    """Convert a model file and write the result. Shows progress on stderr.

    Args:
        parent: an fp32 file that was exported, not converted.
        path: of the file to write.
        validation: the split on which both are compared, whose figures the manifest gets.
        calibration: for int8; None converts to fp16.
        num_threads: of the runtimes that compare; 0 lets them decide.

    In int8 the layers that cost most stay in floating point where the plain way loses more than MAX_MIOU_LOSS in a runtime.

    Raises ParityError, and writes nothing, where the file is not good enough in one of the runtimes; ModelFileError where it cannot
    be converted; LwsegError where NNCF is not installed.
    """
    precision = "fp16" if calibration is None else "int8"
    if parent.manifest.precision != "fp32" or parent.manifest.parent_sha256 is not None:
        raise ModelFileError(
            f"model file {parent.path} is {parent.manifest.precision}; convert the fp32 file that `lwseg export` wrote"
        )
    graph = onnx.load_model_from_string(parent.data)
    with temporary_folder("lwseg_convert_") as folder:
        trial = folder / path.name

        def saved(candidate: onnx.ModelProto, **fields: Any) -> ModelFile:
            manifest = replace(parent.manifest, precision=precision, parent={"sha256": parent.sha256}, **fields)
            return save_model(candidate, manifest, trial)

        if calibration is None:
            result, accuracy_aware = in_half(graph), False
            comparison = compare(parent, saved(result), validation, num_threads)
        else:
            images = calibration.images(parent.manifest.input_size_hw)
            result, accuracy_aware = quantized(graph, images), False
            comparison = compare(parent, saved(result), validation, num_threads)
            if any(entry.loses_too_much for entry in comparison.runtimes.values()):
                scored = _spread(validation)
                result = quantized(
                    graph, images, lambda candidate: miou(saved(candidate), scored, num_threads), MAX_MIOU_LOSS
                )
                accuracy_aware = True
                comparison = compare(parent, saved(result), validation, num_threads)
    comparison.check(precision)
    description = {
        "sha256": parent.sha256,
        "split": validation.split,
        "images": len(validation.pairs),
        "runtimes": comparison.to_manifest(),
    }
    if calibration is not None:
        description |= {
            "calibration": calibration.to_manifest(),
            "float_layers": _float_layers(result) if accuracy_aware else [],
        }
    manifest = replace(
        parent.manifest,
        precision=precision,
        parent=description,
        validation={"split": validation.split, "images": len(validation.pairs), **comparison.figures},
    )
    return save_model(result, manifest, path), comparison


def _spread(split: Split) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read up to NUM_SCORED pairs, evenly spread over a split."""
    count = min(NUM_SCORED, len(split.pairs))
    return [read_pair(*split.pairs[index]) for index in np.linspace(0, len(split.pairs) - 1, count).astype(int)]


def _float_layers(model: onnx.ModelProto) -> list[str]:
    """Name the convolutions and matrix products whose weights are not integers."""
    integer = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layers = (node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"))
    return [node.name for node in layers if not integer.intersection(node.input[1:2])]
