"""From a checkpoint to a model file: calibrate, convert, prove that nothing changed, describe."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import ModelFileError, RecipeError
from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_ros.model.model_file import Manifest, ModelFile, save_model
from lwseg_training.config.recipe import Recipe
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import network_of, two_scale_network_of
from lwseg_training.engine.evaluation import as_inferred, inference_size
from lwseg_training.export.calibration import Calibration, fit_temperature, sample_logits
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.export.parity import Parity, ParityCheck, Precision
from lwseg_training.export.prediction import predict, progress, rounded_figures
from lwseg_training.networks import TwoScaleNetwork
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB, Normalize
from lwseg_training.networks.onnx_graph import OPSET, onnx_graph

CPU = torch.device("cpu")
NUM_SIZED_IMAGES = 8  # that are looked at for the size at which a recipe evaluates


@dataclass(frozen=True)
class CrossFit:
    """What was fitted on what held-out runs of a recipe had not seen (experiments/cross_fitting.py): the temperature, the runs'
    figures with it, as the manifest's `held_out` has them, and its `acceptance`."""

    calibration: Calibration
    held_out: dict[str, Any]
    acceptance: dict[str, Any]


def export_checkpoint(
    state: dict[str, Any],
    data_root: Path,
    path: Path,
    *,
    precision: Precision = "fp32",
    uncertainty_kind: str = "least_confidence",
    size_hw: tuple[int, int] | None = None,
    low_scale: float | None = None,
    cross_fit: CrossFit | None = None,
    device: torch.device = CPU,
) -> tuple[ModelFile, Calibration, Parity]:
    """Make the model file of a checkpoint. Shows progress on stderr.

    Args:
        state: from `load_checkpoint`.
        data_root: folder of the data set that the recipe names; its validation split fits the temperature (but for ``cross_fit``),
            gives the manifest's figures and the images on which the exported graph has to agree with PyTorch.
        path: of the model file.
        precision: of the network inside the graph.
        uncertainty_kind: see InferenceGraph. The temperature is fitted to the logits that the uncertainty is made of: for
            ``low_scale`` to those of the low scale.
        size_hw: input size; by default that at which the recipe evaluates, or that of its crops where the images, as far as eight
            of them tell, are evaluated at many sizes. The figures are those at this size.
        low_scale: export not the network itself but the multi-scale synergy of it, with a low scale of this share.
        cross_fit: of the held-out runs of the recipe; the manifest has its temperature, figures and accepted pixels.
        device: where PyTorch runs.

    Raises ParityError, and writes nothing, where the exported graph disagrees with PyTorch; ModelFileError where there is
    no folder for the model file; RecipeError where the network has no low scale whose uncertainty could be exported, or a
    low scale already, or where the recipe's ``inference.label_step`` does not divide the size.
    """
    check_writable(path)
    recipe, graph = uncalibrated_graph(state, uncertainty_kind, low_scale)
    _, validation = load_splits(recipe.dataset, data_root)
    size_hw = input_size(recipe, data_root, size_hw)
    images = LabelledImages(validation, size_hw)
    calibration = (
        cross_fit.calibration
        if cross_fit is not None
        else fit_temperature([sample_logits(graph.to(device), images, device)])
    )
    # Without an ignored id a value that is no class, for which the node refuses the frame.
    ignore_id = IGNORE if validation.ignore_id is None else validation.ignore_id
    graph = calibrated(graph, calibration.temperature, ignore_id)
    model = to_onnx(graph.cpu(), size_hw, precision)
    check, evaluator = ParityCheck(model), Evaluator(validation.classes, IGNORE, uncertainty_kind)
    graph = graph.to(device)
    for image, label in progress(images, "comparing"):
        prediction = predict(graph, image, device)
        evaluator.add(prediction, label)
        check.add(image, prediction)
    parity = check.parity
    check.check(precision)
    manifest = Manifest(
        network=recipe.network.name,
        classes=tuple(ClassInfo(c["id"], c["name"], tuple(c["color_rgb"])) for c in state["classes"]),
        dataset=recipe.dataset.name,
        input_size_hw=size_hw,
        mean_rgb=MEAN_RGB,
        std_rgb=STD_RGB,
        precision=precision,
        uncertainty_kind=uncertainty_kind,
        temperature=calibration.temperature,
        ignore_id=validation.ignore_id,
        training=_provenance(state, recipe),
        validation={"split": validation.split, "images": len(images), **rounded_figures(evaluator)},
        held_out=cross_fit.held_out if cross_fit is not None else {},
        acceptance=cross_fit.acceptance if cross_fit is not None else {},
    )
    return save_model(model, manifest, path), calibration, parity


def check_writable(path: Path) -> None:
    """Refuse, with a ModelFileError, a path of a model file that has no folder."""
    if not path.parent.is_dir() or path.is_dir():
        raise ModelFileError(f"cannot write {path}: it has to be a file in a folder that exists; choose another path")


def uncalibrated_graph(
    state: dict[str, Any], uncertainty_kind: str = "least_confidence", low_scale: float | None = None
) -> tuple[Recipe, InferenceGraph]:
    """Rebuild a checkpoint's network as it is used, with everything around it, at a temperature of 1; see `export_checkpoint`."""
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
    if low_scale is not None and recipe.inference.label_step > 1:
        raise RecipeError(
            f"a synergy has a label for each pixel, and the recipe's inference.label_step={recipe.inference.label_step} one for "
            "each block; leave out the low scale (--synergy), or resume the run with inference.label_step=1"
        )
    normalize = Normalize(recipe.normalization, recipe.exposure)
    network = as_inferred(network, recipe.inference)
    return recipe, InferenceGraph(network, normalize, uncertainty_kind=uncertainty_kind).eval()


def calibrated(graph: InferenceGraph, temperature: float, ignore_id: int) -> InferenceGraph:
    """Return a graph around the same network with a temperature, and with the label of a pixel whose logits are not finite."""
    return InferenceGraph(
        graph.network, graph.normalize, temperature, graph.uncertainty_kind, ignore_id=ignore_id
    ).eval()


def input_size(recipe: Recipe, data_root: Path, size_hw: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the input size that a recipe's model has: the one given, or by default as `export_checkpoint` says.

    Raises RecipeError for one given that the recipe's ``inference.label_step`` does not divide.
    """
    step = recipe.inference.label_step
    if size_hw is not None and any(side % step for side in size_hw):
        raise RecipeError(
            f"the recipe's inference.label_step={step} wants a size of multiples of it, not {size_hw[0]}x{size_hw[1]} (HxW); "
            "choose another --size, or resume the run with inference.label_step=1"
        )
    if size_hw is not None:
        return size_hw
    images = LabelledImages(load_splits(recipe.dataset, data_root)[1])
    drawn = range(0, len(images), -(-len(images) // NUM_SIZED_IMAGES))
    sizes = {inference_size(images[index][1].shape, recipe.inference) for index in drawn}
    return sizes.pop() if len(sizes) == 1 else recipe.augmentation.crop_hw


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
    return camera_graph(graph, size_hw)


def camera_graph(module: nn.Module, size_hw: tuple[int, int], opset: int = OPSET) -> onnx.ModelProto:
    """Convert a module that maps uint8 BGR [N, H, W, 3] to label and uncertainty, uint8 [N, H, W] each, N dynamic."""
    batch = torch.export.Dim("N", min=1, max=64)
    example = torch.zeros(2, *size_hw, 3, dtype=torch.uint8)
    model = onnx_graph(module, example, ["label", "uncertainty"], ({0: batch},), opset)
    # The exporter's notes on each node hold paths and stack traces of the machine it ran on.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return model


def _provenance(state: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    provenance = {
        "commit": state["commit"],
        "steps": state["step"],
        "epochs": round(state["epoch"], 2),
        "seconds": round(state["seconds"], 1),
        "torch_version": state["torch_version"],
        "recipe": recipe.model_dump(mode="json"),
    }
    if "averaged" in state:
        provenance["averaged"] = state["averaged"]
    trained = state["recipe"]["network"]
    if recipe.network.name != trained["name"]:  # the network of the file is not what was trained, but is around it
        provenance["trained_network"] = trained
    return provenance
