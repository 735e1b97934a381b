"""Labels that a finished network gives to images without any, where it is sure enough (pseudo-labels: Lee, ICML workshop 2013)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import RecipeError
from lwseg_ros.model.precisions import find_model
from lwseg_ros.segmenter import Segmenter
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import class_ids
from lwseg_training.engine.checkpoint import load_checkpoint, network_of
from lwseg_training.engine.evaluation import as_inferred, at_inference_size
from lwseg_training.networks.layers import resize_bilinear
from lwseg_training.networks.normalization import Normalize

CHECKPOINT_SUFFIX = ".pt"


@dataclass(frozen=True)
class Labeller:
    """A finished network that labels images.

    ``predict`` maps an image uint8 BGR [H, W, 3] to its class ids uint8 [H, W] and their probabilities float32 [H, W]; where it
    gives no class the id is none of ``classes``.
    """

    classes: tuple[ClassInfo, ...]
    predict: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@contextmanager
def open_labeller(network: str, device: torch.device) -> Iterator[Labeller]:
    """Open a checkpoint (``.pt``), which runs in PyTorch on a device, or a model file, which runs in its own runtime.

    The probabilities of a model file are those after its temperature, to about 1/255; those of a checkpoint are not calibrated.

    Raises CheckpointError, ModelFileError or BackendError where it cannot be opened, RecipeError where a model file's uncertainty
    tells no probability.
    """
    if Path(network).suffix == CHECKPOINT_SUFFIX:
        yield _of_checkpoint(load_checkpoint(Path(network)), device)
        return
    # The file that is named, not a faster conversion beside it: what is learned from its labels is there to stay.
    precision = find_model(network).model.manifest.precision
    with Segmenter.open(network, precision=precision) as segmenter:
        yield _of_model(segmenter)


def _of_checkpoint(state: dict[str, Any], device: torch.device) -> Labeller:
    recipe, trained = network_of(state)
    normalize = Normalize(recipe.normalization, recipe.exposure)
    of_pixels = recipe.inference.model_copy(update={"label_step": 1})  # time does not matter here
    graph = nn.Sequential(normalize, as_inferred(trained, of_pixels)).eval().to(device)

    @torch.no_grad()
    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        resized = torch.from_numpy(at_inference_size(image, recipe.inference))[None].to(device)
        logits = resize_bilinear(graph(resized), (image.shape[0], image.shape[1]))
        probability, label = logits[0].softmax(dim=0).max(dim=0)
        return label.byte().cpu().numpy(), probability.cpu().numpy()

    return Labeller(tuple(ClassInfo(c["id"], c["name"], tuple(c["color_rgb"])) for c in state["classes"]), predict)


def _of_model(segmenter: Segmenter) -> Labeller:
    manifest = segmenter.manifest
    if manifest.uncertainty_kind != "least_confidence":
        raise RecipeError(
            f"the uncertainty of {segmenter.model.path} is {manifest.uncertainty_kind}, which tells no class's probability; export "
            "the checkpoint with --uncertainty least_confidence, or name the checkpoint itself"
        )
    others = (manifest.num_classes - 1) / manifest.num_classes

    def predict(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        segmentation = segmenter.segment([image])[0]
        return segmentation.label, 1 - segmentation.uncertainty.astype(np.float32) * np.float32(others / 255)

    return Labeller(manifest.classes, predict)


def class_thresholds(classes: Sequence[ClassInfo], confidence: float, of_classes: Mapping[str, float]) -> np.ndarray:
    """Return the least probability at which each class is believed, float32 [256], above 1 for what is no class.

    Raises RecipeError for a class that is not there and a threshold outside 0 to 1.
    """
    class_ids(classes, of_classes, "confidence of classes")
    thresholds = np.full(256, 2, np.float32)
    for info in classes:
        threshold = of_classes.get(info.name, confidence)
        if not 0 <= threshold <= 1:
            raise RecipeError(f"the confidence of {info.name} is {threshold}; expected a probability, 0 to 1")
        thresholds[info.id] = threshold
    return thresholds


def pseudo_label(label: np.ndarray, probability: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the labels uint8 [H, W] whose probability reaches their class's threshold, 255 elsewhere."""
    return np.where(probability >= thresholds[label], label, np.uint8(IGNORE))


def completed(known: np.ndarray, pseudo: np.ndarray, unlabelled: Sequence[int]) -> np.ndarray:
    """Fill known labels uint8 [H, W], 255 where nothing is known, with pseudo-labels.

    Known labels stay, except where the pseudo-label is one of the ids ``unlabelled``: there they tell what is behind it.
    """
    return np.where((known == IGNORE) | np.isin(pseudo, unlabelled), pseudo, known)
