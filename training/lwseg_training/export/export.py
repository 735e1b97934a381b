"""From a checkpoint to a model file: calibrate, convert, prove that nothing changed, describe."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import LwsegError, ModelFileError, RecipeError
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction, evaluate
from lwseg_ros.model.model_file import Manifest, ModelFile, save_model
from lwseg_training.config.recipe import Recipe
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import network_of, two_scale_network_of
from lwseg_training.engine.evaluation import as_inferred, inference_size
from lwseg_training.export.calibration import Calibration, fit_temperature, sample_logits
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks import TwoScaleNetwork
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB, Normalize
from lwseg_training.networks.onnx_graph import onnx_graph

MIN_EQUAL_LABELS = 0.999
MAX_UNCERTAINTY_DIFFERENCE = 2

Precision = Literal["fp32", "fp16"]


class ParityError(LwsegError):
    """An exported model gives other results than the network it was made of."""


@dataclass(frozen=True)
class Parity:
    """How far the exported graph is from PyTorch: share of equal labels, and the largest uncertainty difference of 255."""

    equal_labels: float
    uncertainty_difference: int
    images: int


def export_checkpoint(
    state: dict[str, Any],
    data_root: Path,
    path: Path,
    *,
    precision: Precision = "fp32",
    uncertainty_kind: str = "least_confidence",
    size_hw: tuple[int, int] | None = None,
    low_scale: float | None = None,
) -> tuple[ModelFile, Calibration, Parity]:
    """Make the model file of a checkpoint.

    Args:
        state: from `load_checkpoint`.
        data_root: folder of the data set that the recipe names; its validation split fits the temperature, gives the
            manifest's figures and the images on which the exported graph has to agree with PyTorch.
        path: of the model file.
        precision: of the network inside the graph.
        uncertainty_kind: see InferenceGraph. The temperature is fitted to the logits that the uncertainty is made of: for
            ``low_scale`` to those of the low scale.
        size_hw: input size; by default that at which the recipe evaluates, or that of its crops where it evaluates images of many
            sizes by one side. The figures are those at this size.
        low_scale: export not the network itself but the multi-scale synergy of it, with a low scale of this share.

    Raises ParityError, and writes nothing, where the exported graph disagrees with PyTorch; ModelFileError where there is
    no folder for the model file; RecipeError where the network has no low scale whose uncertainty could be exported, or a
    low scale already.
    """
    if not path.parent.is_dir() or path.is_dir():
        raise ModelFileError(
            f"cannot write {path}: it has to be a file in a folder that exists; choose another --output"
        )
    recipe, network = network_of(state) if low_scale is None else two_scale_network_of(state, low_scale)
    if uncertainty_kind == "low_scale" and not isinstance(network, TwoScaleNetwork):
        raise RecipeError(
            f"the checkpoint's network {recipe.network.name} has no low scale that the uncertainty low_scale could be of; "
            "add --synergy, or choose another --uncertainty"
        )
    if uncertainty_kind == "low_scale" and recipe.inference.window_hw is not None:
        raise RecipeError(
            "the uncertainty low_scale is of whole images, and the recipe's inference.window_hw makes the network run on windows; "
            "choose another --uncertainty, or resume the run with inference.window_hw=null"
        )
    _, validation = load_splits(recipe.dataset, data_root)
    size_hw = size_hw or _default_size(recipe, LabelledImages(validation))
    images = LabelledImages(validation, size_hw)
    network = as_inferred(network, recipe.inference)
    graph = InferenceGraph(
        network, Normalize(recipe.normalization, recipe.exposure), uncertainty_kind=uncertainty_kind
    ).eval()
    calibration = fit_temperature(*sample_logits(graph, images))
    graph = InferenceGraph(
        network,
        graph.normalize,
        calibration.temperature,
        uncertainty_kind,
        # Without one a value that is no class, for which the node refuses the frame.
        ignore_id=IGNORE if validation.ignore_id is None else validation.ignore_id,
    ).eval()
    classes = tuple(ClassInfo(c["id"], c["name"], tuple(c["color_rgb"])) for c in state["classes"])
    metrics, references = _validate(graph, images)

    model = to_onnx(graph, size_hw, precision)
    parity = compare_with_onnx(model, images, references)
    allowed = MAX_UNCERTAINTY_DIFFERENCE * _TOLERANCE_FACTOR[precision]
    if parity.equal_labels < MIN_EQUAL_LABELS or parity.uncertainty_difference > allowed:
        raise ParityError(
            f"the exported graph gives the labels of PyTorch on {parity.equal_labels:.4%} of the pixels (at least "
            f"{MIN_EQUAL_LABELS:.1%} is demanded) and uncertainties up to {parity.uncertainty_difference}/255 away (at most "
            f"{allowed} is allowed); nothing was written"
        )
    manifest = Manifest(
        network=recipe.network.name,
        classes=classes,
        dataset=recipe.dataset.name,
        input_size_hw=size_hw,
        mean_rgb=MEAN_RGB,
        std_rgb=STD_RGB,
        precision=precision,
        uncertainty_kind=uncertainty_kind,
        temperature=calibration.temperature,
        ignore_id=validation.ignore_id,
        training=_provenance(state, recipe),
        validation={"split": validation.split, "images": len(images), **metrics},
    )
    return save_model(model, manifest, path), calibration, parity


def _default_size(recipe: Recipe, images: LabelledImages) -> tuple[int, int]:
    if recipe.inference.short_side is not None or recipe.inference.long_side is not None:
        return recipe.augmentation.crop_hw
    return inference_size(images[0][1].shape, recipe.inference)


# Half precision rounds logits to 11 bits: a confidence may move by a few levels where the label does not.
_TOLERANCE_FACTOR: dict[str, int] = {"fp32": 1, "fp16": 8}


def to_onnx(graph: InferenceGraph, size_hw: tuple[int, int], precision: Precision = "fp32") -> onnx.ModelProto:
    """Convert a graph for inputs uint8 [N, H, W, 3], N dynamic."""
    if precision == "fp16":
        graph = InferenceGraph(
            copy.deepcopy(graph.network),
            graph.normalize,
            graph.temperature,
            graph.uncertainty_kind,
            ignore_id=graph.ignore_id,
            half=True,
        ).eval()
    batch = torch.export.Dim("N", min=1, max=64)
    example = torch.zeros(2, *size_hw, 3, dtype=torch.uint8)
    model = onnx_graph(graph, example, ["label", "uncertainty"], ({0: batch},))
    # The exporter's notes on each node hold paths and stack traces of the machine it ran on.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return model


def compare_with_onnx(model: onnx.ModelProto, images: LabelledImages, references: list[Prediction]) -> Parity:
    """Run the exported graph in ONNX Runtime on a split's images and compare with what PyTorch predicts."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    equal = pixels = difference = 0
    for (image, _), reference in zip(images, references, strict=True):
        label, uncertainty = (output[0] for output in session.run(["label", "uncertainty"], {"image": image[None]}))
        assert reference.uncertainty is not None
        equal += int((label == reference.label).sum())
        pixels += label.size
        difference = max(difference, int(np.abs(uncertainty.astype(np.int16) - reference.uncertainty).max()))
    return Parity(equal / pixels, difference, len(references))


@torch.no_grad()
def _validate(graph: InferenceGraph, images: LabelledImages) -> tuple[dict[str, float], list[Prediction]]:
    """Return the validation metrics for the manifest, and what PyTorch predicts for each image."""
    predictions = []

    def predict(image: np.ndarray) -> Prediction:
        predictions.append(Prediction(*(output[0].numpy() for output in graph(torch.from_numpy(image)[None]))))
        return predictions[-1]

    metrics = evaluate(Evaluator(images.split.classes, IGNORE, graph.uncertainty_kind), images, predict).metrics()
    metrics.update(metrics.pop("uncertainty"))
    wanted = {name: metrics[name] for name in ("miou", "pixel_accuracy", "ece", "auroc")}
    return {name: round(value, 5) for name, value in wanted.items() if value is not None}, predictions


def _provenance(state: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    provenance = {
        "commit": state["commit"],
        "steps": state["step"],
        "epochs": round(state["epoch"], 2),
        "seconds": round(state["seconds"], 1),
        "torch_version": state["torch_version"],
        "recipe": recipe.model_dump(mode="json"),
    }
    trained = state["recipe"]["network"]
    if recipe.network.name != trained["name"]:  # the network of the file is not what was trained, but is around it
        provenance["trained_network"] = trained
    return provenance
