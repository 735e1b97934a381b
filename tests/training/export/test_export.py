"""From a checkpoint to a model file: what is in it, and when it is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection, parse_recipe
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint, network_of, two_scale_network_of
from lwseg_training.export import export
from lwseg_training.export.export import export_checkpoint, to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.export.parity import Parity, ParityCheck, ParityError
from lwseg_training.networks import build_network
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.sliding_windows import SlidingWindows
from onnx import numpy_helper

from lwseg_ros.backends import BackendOptions, open_backend
from lwseg_ros.errors import ModelFileError, RecipeError
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.model.model_file import UNCERTAINTY_KINDS, load_model
from lwseg_ros.segmenter import Segmenter


@pytest.fixture(scope="module")
def state(run_folder: Path) -> dict[str, Any]:
    return load_checkpoint(run_folder / "best.pt")


@pytest.fixture(scope="module")
def validation(miniature: Path) -> LabelledImages:
    return LabelledImages(load_splits(DatasetSection(), miniature)[1])


@pytest.fixture(scope="module")
def exported(state: dict[str, Any], miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "mini.onnx"
    export_checkpoint(state, miniature, path)
    return path


def references_of(graph: InferenceGraph, images: LabelledImages) -> list[tuple[np.ndarray, np.ndarray]]:
    with torch.no_grad():
        outputs = [graph(torch.from_numpy(images[index][0])[None]) for index in range(len(images))]
    return [(label[0].numpy(), uncertainty[0].numpy()) for label, uncertainty in outputs]


def perturbed(model: onnx.ModelProto, factor: float) -> onnx.ModelProto:
    """Scale the weights of the last convolution, which makes the logits of each class, class by class."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    last = [node for node in changed.graph.node if node.op_type == "Conv"][-1]
    tensor = next(tensor for tensor in changed.graph.initializer if tensor.name == last.input[1])
    weights = numpy_helper.to_array(tensor)
    scales = np.linspace(1, factor, weights.shape[0], dtype=weights.dtype)[:, None, None, None]
    tensor.CopyFrom(numpy_helper.from_array(weights * scales, tensor.name))
    return changed


def test_the_model_file_loads_and_says_what_it_is(exported: Path, state: dict[str, Any]) -> None:
    manifest = load_model(exported).manifest
    assert manifest.network == "dwrseg_b"
    assert [c.name for c in manifest.classes][:2] == ["sky", "building"]
    assert manifest.input_size_hw == (64, 96)
    assert (manifest.precision, manifest.uncertainty_kind) == ("fp32", "least_confidence")
    assert 0.01 <= manifest.temperature <= 100
    assert manifest.ignore_id == 11
    assert manifest.training["commit"] == state["commit"]
    assert manifest.training["steps"] == state["step"]
    assert manifest.training["recipe"]["optimizer"]["lr"] == 0.005
    assert manifest.validation["split"] == "val"
    assert manifest.validation["images"] == 3
    assert manifest.validation["miou"] == pytest.approx(state["best_miou"], abs=1e-4)
    assert 0 <= manifest.validation["ece"] < 0.2
    assert (manifest.held_out, manifest.acceptance) == ({}, {}), "nothing was cross-fitted"


def test_the_model_gives_the_labels_of_the_checkpoint(
    exported: Path, state: dict[str, Any], validation: LabelledImages
) -> None:
    recipe, network = network_of(state)
    model = load_model(exported)
    graph = InferenceGraph(network, Normalize(recipe.normalization), model.manifest.temperature).eval()
    backend = open_backend(model, "onnxruntime").backend
    for index, (label, uncertainty) in enumerate(references_of(graph, validation)):
        got_label, got_uncertainty = backend.infer(validation[index][0][None])
        assert (got_label[0] == label).mean() >= 0.999
        assert np.abs(got_uncertainty[0].astype(int) - uncertainty).max() <= 2


def test_nothing_of_the_exporting_machine_is_in_the_file(exported: Path) -> None:
    data = exported.read_bytes()
    root = str(Path(__file__).parents[3])
    for trace in (root, tempfile.gettempdir(), "site-packages", ".py", "torch/nn", "Traceback", 'File "'):
        assert trace.encode() not in data, trace
    model = onnx.load_model_from_string(data)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_the_batch_is_dynamic(exported: Path, validation: LabelledImages) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(exported.read_bytes(), providers=["CPUExecutionProvider"])
    images = np.stack([validation[index][0] for index in range(3)])
    together, _ = session.run(["label", "uncertainty"], {"image": images})
    alone = [session.run(["label"], {"image": images[index : index + 1]})[0][0] for index in range(3)]
    assert together.shape == (3, 64, 96)
    assert (together == np.stack(alone)).mean() >= 0.999


@pytest.mark.parametrize("kind", UNCERTAINTY_KINDS)
def test_every_kind_of_uncertainty_exports_in_half_precision(
    kind: str, state: dict[str, Any], miniature: Path, tmp_path: Path
) -> None:
    path = tmp_path / "half.onnx"
    low_scale = 0.5 if kind == "low_scale" else None
    model, _, parity = export_checkpoint(
        state, miniature, path, precision="fp16", uncertainty_kind=kind, low_scale=low_scale
    )
    assert (model.manifest.precision, model.manifest.uncertainty_kind) == ("fp16", kind)
    assert parity.equal_labels >= 0.999
    graph = onnx.load_model(path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert {types[node.input[1]] for node in convolutions} == {onnx.TensorProto.FLOAT16}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_a_synergy_around_a_trained_network_publishes_the_doubt_of_its_low_scale(
    state: dict[str, Any], miniature: Path, validation: LabelledImages, tmp_path: Path
) -> None:
    path = tmp_path / "synergy.onnx"
    _, calibration, parity = export_checkpoint(state, miniature, path, uncertainty_kind="low_scale", low_scale=0.75)
    assert parity.uncertainty_difference <= 2
    manifest = load_model(path).manifest
    assert (manifest.network, manifest.uncertainty_kind) == ("synergy", "low_scale")
    assert manifest.temperature == calibration.temperature
    assert manifest.training["trained_network"] == state["recipe"]["network"]
    assert "ece" not in manifest.validation, "the low scale's confidence is not that of the label"
    assert 0.5 < manifest.validation["auroc"] <= 1
    section = parse_recipe(manifest.training["recipe"], source="manifest").network
    assert section.name == "synergy"
    assert build_network(section.name, 11, **section.options).low_scale == 0.75

    recipe, network = two_scale_network_of(state, 0.75)
    graph = InferenceGraph(network, Normalize(recipe.normalization), manifest.temperature, "low_scale").eval()
    for backend in ("onnxruntime", "openvino"):
        with Segmenter.open(path, backend, options=BackendOptions(cpu_precision="fp32")) as segmenter:
            for index, (label, uncertainty) in enumerate(references_of(graph, validation)):
                got = segmenter.segment([validation[index][0]])[0]
                assert (got.label == label).mean() >= 0.999
                assert np.abs(got.uncertainty.astype(int) - uncertainty).max() <= 2
                assert len(np.unique(uncertainty)) > 50


def as_synergy(state: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The checkpoint of a network as that of a synergy around it."""
    trunk = state["recipe"]["network"]
    options = {"trunk": trunk["name"], "trunk_options": trunk["options"], **options}
    return {**state, "recipe": {**state["recipe"], "network": {"name": "synergy", "options": options}}}


def test_a_trained_synergy_and_one_around_its_trunk_are_the_same(state: dict[str, Any]) -> None:
    trained_recipe, trained = network_of(as_synergy(state, low_scale=0.75))
    recipe, network = two_scale_network_of(state, 0.75)
    assert recipe == trained_recipe
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network(image), trained(image))


def test_scales_that_make_no_sense_are_refused(state: dict[str, Any], miniature: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(RecipeError, match=r"network dwrseg_b has no low scale .* add --synergy, or choose another"):
        export_checkpoint(state, miniature, path, uncertainty_kind="low_scale")
    with pytest.raises(RecipeError, match="is a synergy of two scales already; leave --synergy out"):
        export_checkpoint(as_synergy(state), miniature, path, low_scale=0.5)
    for low_scale in (0.0, 1.0, float("nan")):
        with pytest.raises(RecipeError, match=f"low_scale {low_scale} is not above 0 and below 1; choose another"):
            export_checkpoint(state, miniature, path, low_scale=low_scale)
    assert not path.exists()


def test_exporting_in_half_leaves_the_network_in_float() -> None:
    network = torch.nn.Conv2d(3, 5, 1)
    model = to_onnx(InferenceGraph(network, Normalize()).eval(), (32, 32), "fp16")
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_another_input_size_is_exported_and_evaluated_at_that_size(
    state: dict[str, Any], miniature: Path, tmp_path: Path
) -> None:
    model, _, parity = export_checkpoint(state, miniature, tmp_path / "small.onnx", size_hw=(48, 80))
    assert load_model(tmp_path / "small.onnx").manifest.input_size_hw == (48, 80)
    assert parity.images == 3
    assert model.manifest.validation["miou"] > 0.3


def test_windows_of_the_recipe_are_inside_the_graph(
    state: dict[str, Any], miniature: Path, validation: LabelledImages, tmp_path: Path
) -> None:
    recipe = {**state["recipe"], "inference": {"window_hw": [48, 64], "window_overlap": 0.5}}
    windowed = {**state, "recipe": recipe}
    model, _, parity = export_checkpoint(windowed, miniature, tmp_path / "windows.onnx")
    assert parity.equal_labels >= 0.999
    assert model.manifest.input_size_hw == (64, 96)
    assert model.manifest.training["recipe"]["inference"]["window_hw"] == [48, 64]
    network = SlidingWindows(network_of(state)[1], (48, 64), 0.5)
    graph = InferenceGraph(network, Normalize(), model.manifest.temperature).eval()
    (expected, _), *_ = references_of(graph, validation)
    label, _ = open_backend(model, "onnxruntime").backend.infer(validation[0][0][None])
    assert (label[0] == expected).mean() >= 0.999
    with pytest.raises(RecipeError, match=r"low_scale is of whole images.* inference.window_hw=null"):
        export_checkpoint(windowed, miniature, tmp_path / "low.onnx", uncertainty_kind="low_scale", low_scale=0.5)


def test_parity_is_measured(exported: Path, state: dict[str, Any], validation: LabelledImages) -> None:
    recipe, network = network_of(state)
    temperature = load_model(exported).manifest.temperature
    graph = InferenceGraph(network, Normalize(recipe.normalization), temperature).eval()
    references = [Prediction(*reference) for reference in references_of(graph, validation)]
    model = onnx.load_model(exported)

    def parity(model: onnx.ModelProto, runtime: str = "onnxruntime") -> Parity:
        check = ParityCheck(model)
        for (image, _), reference in zip(validation, references, strict=True):
            check.add(image, reference)
        return check.parity_in(runtime)

    assert parity(model).equal_labels >= 0.999
    assert parity(perturbed(model, 1.05)).uncertainty_difference > 2
    badly = parity(perturbed(model, -1.0))
    assert badly.equal_labels < 0.9
    assert badly.images == 3
    assert parity(model, "openvino").equal_labels >= 0.999
    with pytest.raises(ParityError, match="in openvino the exported graph gives the labels of PyTorch on"):
        parity(perturbed(model, -1.0), "openvino").check("fp32", "openvino")


def test_a_graph_that_differs_from_pytorch_is_refused_and_not_written(
    exported: Path, state: dict[str, Any], miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A faulty converter, in effect: what it writes is the checkpoint's graph, valid, with other weights.
    monkeypatch.setattr(export, "to_onnx", lambda *_: perturbed(onnx.load_model(exported), -1.0))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the one before")
    with pytest.raises(
        ParityError,
        match=r"gives the labels of PyTorch on \d+\.\d+% .*at least 99\.9% .*\(at most 2 is allowed\); nothing",
    ):
        export_checkpoint(state, miniature, path)
    assert path.read_bytes() == b"the one before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    state: dict[str, Any], miniature: Path, tmp_path: Path
) -> None:
    for path in (tmp_path / "nowhere" / "model.onnx", tmp_path):
        with pytest.raises(ModelFileError, match="it has to be a file in a folder that exists; choose another path"):
            export_checkpoint(state, miniature, path)
