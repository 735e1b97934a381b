"""Does a runtime on a device compute what a runtime on the CPU does? One image, before anything is published.

So that code that never met this device, library or driver cannot publish nonsense. The image is made, not taken: noise of every
scale and colour, brighter above than below, in which networks see most of their classes. Two classes, two colours or rows that
are mixed up change more than a tenth of its labels; only a mix-up of classes that are not in it would be left to the uncertainty.
"""

from __future__ import annotations

import importlib
import logging
from typing import NamedTuple

import cv2
import numpy as np

from lwseg_ros.backends.base import Backend, BackendOptions
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile

# Runtimes on the CPU, the most exact first; they are not checked themselves.
REFERENCES = ("onnxruntime", "openvino")
NUM_TRIES = 4
MANY_CLASSES = 3
# A class that is compared by itself, as a share of the image: fewer pixels lie on borders, where arithmetic decides.
VISIBLE_SHARE = 0.002
MIN_EQUAL_OF_A_CLASS = 0.5

logger = logging.getLogger(__name__)


class Gate(NamedTuple):
    """What may differ: the least share of equal labels, and how far apart 99 of 100 uncertainties may be, of 255."""

    equal_labels: float
    uncertainty_difference: int


# By the precision of the graph. Noise lies nearer to decisions than streets do: OpenVINO's bf16 keeps 0.988 of these labels, and of
# int8 files it gives 0.88 to 0.97 of ONNX Runtime's; docs/precisions.md tells why 0.9.
GATES = {"fp32": Gate(0.995, 4), "fp16": Gate(0.98, 16), "int8": Gate(0.9, 48)}


def self_check(model: ModelFile, backend: Backend, options: BackendOptions) -> str:
    """Compare a backend with a runtime on the CPU, and return in words what was found.

    Raises BackendError where they disagree, or the backend fails. Where no runtime on the CPU can be used, that is returned.
    """
    if backend.name in REFERENCES:
        return ""
    try:
        reference = _open_reference(model, options)
    except BackendError as error:
        logger.warning("no self-check of %s: %s", backend.name, error)
        return f"no self-check: {error}"
    try:
        image, expected_label, expected_uncertainty = _telling_image(model, reference)
    finally:
        reference.close()
    gate = GATES[model.manifest.precision]
    equal = 1.0
    for number in sorted({1, options.max_batch}):
        labels, uncertainties = backend.infer(np.ascontiguousarray(np.broadcast_to(image, (number, *image.shape))))
        for label, uncertainty in zip(labels, uncertainties, strict=True):
            equal = min(equal, float((label == expected_label).mean()))
            if fault := _fault(label, uncertainty, expected_label, expected_uncertainty, gate):
                message = (
                    f"{backend.name} ({backend.device}) disagrees with {reference.name} on {model.path}: {fault}; "
                    "its driver, library or engine cannot be relied on"
                )
                logger.error(message)
                raise BackendError(message)
    seen = np.unique(expected_label).size
    doubt = "" if seen > 1 else ", which sees but one class in it: classes that are mixed up may go unseen"
    return f"self-check: {equal:.2%} of the labels are those of {reference.name}{doubt}"


def noise_image(size_hw: tuple[int, int], seed: int) -> np.ndarray:
    """Make noise of every scale, the coarse ones strongest, brighter above than below; uint8 BGR [H, W, 3]."""
    height, width = size_hw
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64, 128):
        coarse = rng.normal(0, scale**0.5, (max(1, height // scale), max(1, width // scale), 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image *= 55 / image.std()
    image += 128 - image.mean() + 70 * np.linspace(1, -1, height, dtype=np.float32)[:, None, None]
    return np.clip(image, 0, 255).astype(np.uint8)


def _open_reference(model: ModelFile, options: BackendOptions) -> Backend:
    reasons = []
    for name in REFERENCES:
        # Not by `load_runtime`, which may have been given others by these names.
        runtime = importlib.import_module(f"lwseg_ros.backends.{name}")
        try:
            exact = BackendOptions(num_threads=options.num_threads, cpu_precision="fp32")
            reference: Backend = runtime.open(model, exact)
            return reference
        except BackendError as error:
            reasons.append(str(error))
    raise BackendError("; ".join(reasons))


def _telling_image(model: ModelFile, reference: Backend) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image in which the model sees several classes, as far as a few tries give one, with label and uncertainty."""
    tried = []
    for seed in range(NUM_TRIES):
        image = noise_image(model.manifest.input_size_hw, seed)
        labels, uncertainties = reference.infer(image[None])
        tried.append((image, labels[0], uncertainties[0]))
        if len(_visible_classes(labels[0])) >= MANY_CLASSES:
            return tried[-1]
    return max(tried, key=lambda seen: len(_visible_classes(seen[1])))


def _visible_classes(label: np.ndarray) -> list[int]:
    ids, counts = np.unique(label, return_counts=True)
    return [int(class_id) for class_id in ids[counts >= VISIBLE_SHARE * label.size]]


def _fault(
    label: np.ndarray, uncertainty: np.ndarray, expected_label: np.ndarray, expected_uncertainty: np.ndarray, gate: Gate
) -> str:
    """Say what is beyond the gate; empty where nothing is."""
    equal = float((label == expected_label).mean())
    if equal < gate.equal_labels:
        return f"{equal:.2%} of the labels are equal, expected at least {gate.equal_labels:.1%}"
    for class_id in _visible_classes(expected_label):
        equal = float((label[expected_label == class_id] == class_id).mean())
        if equal < MIN_EQUAL_OF_A_CLASS:
            return f"{equal:.2%} of class {class_id} have its label, expected at least {MIN_EQUAL_OF_A_CLASS:.0%}"
    difference = float(np.percentile(np.abs(uncertainty.astype(np.int16) - expected_uncertainty), 99))
    if difference > gate.uncertainty_difference:
        return f"uncertainties are up to {difference:.0f}/255 apart, expected at most {gate.uncertainty_difference}"
    return ""
