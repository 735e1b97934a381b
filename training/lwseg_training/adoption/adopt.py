"""From an ONNX file that others exported to a model file: look, run, wrap, prove that nothing changed, describe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from lwseg_ros.backends.self_check import noise_image
from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets import Split
from lwseg_ros.errors import ModelFileError
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.model.manifest import NO_UNCERTAINTY, Manifest
from lwseg_ros.model.model_file import ModelFile, save_model
from lwseg_training.adoption.foreign_file import foreign_errors, read_foreign
from lwseg_training.adoption.foreign_graph import (
    ForeignInput,
    ForeignOutput,
    Values,
    check_foreign_sizes,
    find_input,
    find_output,
)
from lwseg_training.adoption.foreign_network import (
    ChannelOrder,
    ForeignNetwork,
    ForeignSession,
    LabelGraph,
    Preprocessing,
)
from lwseg_training.adoption.splicing import (
    at_least_opset,
    opset_of,
    precision_of,
    restricted,
    spliced,
    with_free_batch,
)
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages
from lwseg_training.export.calibration import Calibration, fit_temperature, sample_logits
from lwseg_training.export.export import CPU, calibrated, camera_graph, check_writable
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.export.parity import MIN_EQUAL_LABELS, Parity, ParityCheck, ParityError
from lwseg_training.export.prediction import predict, progress, rounded_figures

NUM_NOISE_IMAGES = 4
UNKNOWN_DATASET = "unknown"
MIN_EQUAL = {"fp32": MIN_EQUAL_LABELS, "fp16": 0.99, "int8": 0.99}
"""Share of the labels that have to be equal, by precision: the last bit of a prepared pixel may become a whole step of a coarser
type, and of noise many pixels lie at a border."""


@dataclass(frozen=True)
class Wish:
    """What the user says of a foreign file; None is found by looking and by running it.

    mean, std, channel_order, largest: see `Preprocessing`. input, output: names. values: of the output. size_hw: pixels.
    uncertainty_kind: see `InferenceGraph`; of labels there is none.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: ChannelOrder = "rgb"
    largest: int = 1
    size_hw: tuple[int, int] | None = None
    input: str | None = None
    output: str | None = None
    values: Values | None = None
    uncertainty_kind: str | None = None


@dataclass(frozen=True)
class Adopted:
    """A model file, what was found in the foreign one, and what was measured; calibration None where nothing was fitted."""

    model: ModelFile
    input: ForeignInput
    output: ForeignOutput
    calibration: Calibration | None
    parity: Parity


def adopt(
    foreign_path: Path, path: Path, classes: Sequence[ClassInfo], wish: Wish, split: Split | None = None
) -> Adopted:
    """Make a model file of an ONNX file that others exported. Shows progress on stderr.

    Args:
        foreign_path: of it.
        path: of the model file.
        classes: in the order of its channels, or by the values of its labels.
        wish: what is known of it.
        split: labelled images of the same classes that the temperature is fitted on and the manifest's figures are of; None leaves
            the temperature at 1 and the manifest without figures.

    Raises ModelFileError, which says what does not fit or has to be asked for, DatasetError where the split has other classes, and
    ParityError where the model file gives other labels than ONNX Runtime gives for the foreign file; nothing is written then.
    """
    check_writable(path)
    if split is not None:
        split.check_classes(classes)
    foreign = read_foreign(foreign_path)
    preprocessing = Preprocessing(wish.mean, wish.std, wish.channel_order, wish.largest)
    with foreign_errors(foreign_path):
        names = [value.name for value in foreign.graph.output]
        foreign = restricted(foreign, [name for name in names if wish.output in (None, name)] or names)
        given = find_input(foreign, wish.input, wish.size_hw)
        convertible = at_least_opset(foreign)
        check_foreign_sizes(convertible, given)
        session = ForeignSession(foreign, given)
        noise = [noise_image(given.size_hw, seed) for seed in range(NUM_NOISE_IMAGES)]
        runs = [session.run(preprocessing(torch.from_numpy(image)[None])[0].numpy()) for image in noise]
        outputs = {name: [run[name] for run in runs] for name in names if name in runs[0]}
        output = find_output(outputs, len(classes), given.size_hw, wish.output, wish.values)
        if output.values == "labels":
            for labels in outputs[output.name]:
                _check_labels(labels, classes, None)
    ignore_id = IGNORE if split is None or split.ignore_id is None else split.ignore_id
    images = None if split is None else LabelledImages(split, given.size_hw)
    network = ForeignNetwork(session, given, output)
    graph, kind, calibration = _graph_around(network, preprocessing, output, wish.uncertainty_kind, ignore_id, images)
    core = restricted(with_free_batch(convertible, given.name), [output.name])
    model = spliced(camera_graph(graph, given.size_hw, opset_of(core)), core)
    precision = precision_of(core)
    with foreign_errors(foreign_path):
        _check_batches(model, noise, MIN_EQUAL[precision])
        check, evaluator = ParityCheck(model), Evaluator(classes, IGNORE, kind)
        labelled: Iterable[tuple[np.ndarray, np.ndarray | None]] = (
            ((image, None) for image in noise) if images is None else progress(images, "comparing")
        )
        for image, label in labelled:
            prediction = predict(graph, image, CPU)
            _check_labels(prediction.label, classes, ignore_id)
            check.add(image, prediction)
            counted = np.where(prediction.label == ignore_id, np.uint8(IGNORE), prediction.label)
            evaluator.add(Prediction(counted, prediction.uncertainty), label)
        _check_parity(check.parity, MIN_EQUAL[precision])
        manifest = Manifest(
            network=foreign_path.stem,
            classes=tuple(classes),
            dataset=UNKNOWN_DATASET,
            input_size_hw=given.size_hw,
            mean_rgb=_in_rgb(wish.mean, wish),
            std_rgb=_in_rgb(wish.std, wish),
            precision=precision,
            uncertainty_kind=kind,
            temperature=1.0 if calibration is None else calibration.temperature,
            ignore_id=IGNORE if split is None else split.ignore_id,
            training={
                "adopted": {
                    "file": foreign_path.name,
                    "sha256": hashlib.sha256(foreign_path.read_bytes()).hexdigest(),
                    "input": given.name,
                    "output": output.name,
                    "values": output.values,
                    "channel_order": wish.channel_order,
                },
                "calibrated": calibration is not None,
            },
            validation={}
            if split is None or images is None
            else {"dataset": split.dataset, "split": split.split, "images": len(images), **rounded_figures(evaluator)},
        )
        return Adopted(save_model(model, manifest, path), given, output, calibration, check.parity)


def _graph_around(
    network: ForeignNetwork,
    preprocessing: Preprocessing,
    output: ForeignOutput,
    asked_kind: str | None,
    ignore_id: int,
    images: LabelledImages | None,
) -> tuple[nn.Module, str, Calibration | None]:
    """Put around a network what makes a model of it; returns that, the kind of its uncertainty, and what was fitted on images."""
    if output.values == "labels":
        if asked_kind is not None:
            raise ModelFileError(
                f"--uncertainty {asked_kind} is made of probabilities, and {output.name!r} holds labels; leave it out, or export "
                "the network with its logits"
            )
        return LabelGraph(network, preprocessing, ignore_id).eval(), NO_UNCERTAINTY, None
    kind = asked_kind or "least_confidence"
    graph = InferenceGraph(network, preprocessing, uncertainty_kind=kind, ignore_id=ignore_id).eval()
    if images is None:
        return graph, kind, None
    calibration = fit_temperature([sample_logits(graph, images, CPU)])
    return calibrated(graph, calibration.temperature, ignore_id), kind, calibration


def _check_batches(model: onnx.ModelProto, images: Sequence[np.ndarray], least: float) -> None:
    """Demand of images together the labels that each has alone; raises ModelFileError."""
    import onnxruntime

    fix = "export the network with a dynamic batch"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    try:
        # One alone may fail too, where a side was freed that is none of the batch.
        alone = np.concatenate([session.run(["label"], {"image": image[None]})[0] for image in images])
        (together,) = session.run(["label"], {"image": np.stack(images)})
    except Exception as error:  # the library's errors have no common base
        raise ModelFileError(f"its graph takes one image at a time only; {fix}") from error
    if together.shape != alone.shape or (together == alone).mean() < least:
        raise ModelFileError(f"its graph gives several images other labels than each of them alone; {fix}")


def _check_labels(label: np.ndarray, classes: Sequence[ClassInfo], ignore_id: int | None) -> None:
    """Demand labels that are classes, or the ignore id; raises ModelFileError. Without that, what no label can be passes too."""
    ids = {*np.unique(label).tolist()} - {info.id for info in classes}
    foreign = sorted(ids - {ignore_id} if ignore_id is not None else {id_ for id_ in ids if 0 <= id_ < IGNORE})
    if foreign:
        raise ModelFileError(
            f"it gives the labels {foreign}, and there are {len(classes)} classes, 0 to {len(classes) - 1}; give all its classes"
        )


def _check_parity(parity: Parity, least: float) -> None:
    if parity.equal_labels < least:
        raise ParityError(
            f"the model file gives the labels of ONNX Runtime on the foreign file for {parity.equal_labels:.4%} of the pixels, at "
            f"least {least:.1%} are demanded; nothing was written"
        )


def _in_rgb(values: tuple[float, float, float], wish: Wish) -> tuple[float, float, float]:
    """Bring values in the network's channel order and units to those of a manifest."""
    first, second, third = (value / wish.largest for value in values)
    return (first, second, third) if wish.channel_order == "rgb" else (third, second, first)
