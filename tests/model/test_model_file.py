"""The model file: what goes in comes out, and everything that does not fit is refused by name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny_model import CLASSES, tiny_graph, tiny_manifest, write_tiny_model

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model import model_file
from lwseg_ros.model.model_file import (
    METADATA_KEY,
    Manifest,
    ModelFile,
    load_model,
    resolve_model,
    save_model,
    shipped_models,
    weights_sha256,
)


def edited(model: ModelFile, path: Path, edit: Callable[[onnx.ModelProto], Any]) -> Path:
    """Write a copy of a model file after an edit that `save_model` would not make."""
    proto = onnx.load_model_from_string(model.data)
    edit(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def with_manifest(model: ModelFile, path: Path, **fields: Any) -> Path:
    """Write a copy of a model file with other manifest fields; a field given as `...` is left out."""
    values = {**json.loads(model.manifest.to_json()), **fields}
    text = json.dumps({name: value for name, value in values.items() if value is not ...})

    def edit(proto: onnx.ModelProto) -> None:
        proto.metadata_props[0].value = text

    return edited(model, path, edit)


def test_round_trip(tmp_path: Path) -> None:
    saved = write_tiny_model(tmp_path / "tiny.onnx")
    loaded = load_model(str(saved.path))
    assert loaded == saved
    assert replace(loaded.manifest, weights_sha256="") == tiny_manifest()
    assert loaded.data == saved.path.read_bytes()
    assert len(loaded.sha256) == 64
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.onnx"], "temporary files were left"


def test_palette_and_count(tiny_model: ModelFile) -> None:
    palette = tiny_model.manifest.palette_bgr
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert tuple(palette[2]) == CLASSES[2].color_rgb[::-1]
    assert not palette[len(CLASSES) :].any()
    assert tiny_model.manifest.num_classes == len(CLASSES)


def test_save_leaves_the_graph_given_alone_and_replaces_an_old_manifest(tmp_path: Path, tiny_model: ModelFile) -> None:
    proto = onnx.load_model_from_string(tiny_model.data)
    proto.metadata_props.add(key="author", value="somebody")
    before = proto.SerializeToString()
    saved = save_model(proto, replace(tiny_model.manifest, temperature=2.0), tmp_path / "again.onnx")
    assert proto.SerializeToString() == before
    assert load_model(saved.path).manifest.temperature == 2.0
    kept = {entry.key: entry.value for entry in onnx.load(saved.path).metadata_props}
    assert kept.keys() == {"author", METADATA_KEY}


def test_a_save_that_would_not_load_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx").path
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=r"cannot save .*input_size_hw asks for \[N, 32, 32, 3\]"):
        save_model(tiny_graph(), tiny_manifest(size_hw=(32, 32)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.onnx"]


def test_weights_hash_depends_on_values_and_names_only() -> None:
    proto = tiny_graph()
    expected = weights_sha256(proto)
    proto.graph.name = "another"
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(reversed(tensors))
    assert weights_sha256(proto) == expected
    # The same values in protobuf's other representation of floats.
    first = proto.graph.initializer[0]
    values = numpy_helper.to_array(first)
    first.CopyFrom(helper.make_tensor(first.name, first.data_type, first.dims, values.ravel().tolist()))
    assert weights_sha256(proto) == expected
    first.name += "x"
    assert weights_sha256(proto) != expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX file"),
        (b"not a model at all " * 9, "not an ONNX file"),
    ],
)
def test_foreign_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=f"(?s)foreign.onnx.*{message}"):
        load_model(path)


def test_every_truncation_is_refused(tmp_path: Path, tiny_model: ModelFile) -> None:
    path = tmp_path / "cut.onnx"
    for length in range(1, len(tiny_model.data), 97):
        path.write_bytes(tiny_model.data[:length])
        with pytest.raises(ModelFileError, match=r"cut\.onnx"):
            load_model(path)


def test_missing_folder_huge_and_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileError, match=r"nothing\.onnx does not exist"):
        load_model(tmp_path / "nothing.onnx")
    with pytest.raises(ModelFileError, match="cannot be read: it is not a regular file; give the path of an"):
        load_model(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(ModelFileError, match="cannot be read: "):
            load_model(path)
    with pytest.raises(ModelFileError, match="cannot be read: File name too long"):
        load_model(tmp_path / ("x" * 300))
    path = write_tiny_model(tmp_path / "tiny.onnx").path
    monkeypatch.setattr(model_file, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ModelFileError, match="is too large, at most 1000 bytes are accepted"):
        load_model(path)


def test_no_or_two_manifests(tmp_path: Path, tiny_model: ModelFile) -> None:
    def forget(proto: onnx.ModelProto) -> None:
        del proto.metadata_props[:]

    with pytest.raises(ModelFileError, match=r"no manifest.*lwseg_manifest.*lwseg export"):
        load_model(edited(tiny_model, tmp_path / "none.onnx", forget))

    def repeat(proto: onnx.ModelProto) -> None:
        proto.metadata_props.add().CopyFrom(proto.metadata_props[0])

    with pytest.raises(ModelFileError, match="has 2 manifests"):
        load_model(edited(tiny_model, tmp_path / "two.onnx", repeat))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"text"', "[1]", "null", ""])
def test_manifest_that_is_no_object(tmp_path: Path, tiny_model: ModelFile, text: str) -> None:
    def replace_text(proto: onnx.ModelProto) -> None:
        proto.metadata_props[0].value = text

    with pytest.raises(ModelFileError, match=r"manifest is (not JSON|a JSON)"):
        load_model(edited(tiny_model, tmp_path / "m.onnx", replace_text))


ROAD = {"id": 0, "name": "road", "color_rgb": [1, 2, 3]}
CAR = {"id": 1, "name": "car", "color_rgb": [4, 5, 6]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format_version": 2}, "'format_version' is 2, this version of lwseg_ros reads 1"),
        ({"format_version": ...}, "'format_version' is None"),
        ({"network": ...}, "lacks 'network'"),
        ({"novelty": 1}, "unknown 'novelty'"),
        ({"network": ""}, "'network' is '', expected a text"),
        ({"dataset": 3}, "'dataset' is 3, expected a text"),
        ({"classes": {}}, "'classes' is {}, expected a list"),
        ({"classes": [ROAD]}, "expected two to 255 classes"),
        ({"classes": [ROAD, "car"]}, "'classes' holds 'car', expected an object"),
        ({"classes": [ROAD, {"id": 1, "name": "car"}]}, "a class lacks 'color_rgb'"),
        ({"classes": [ROAD, CAR | {"id": 0}]}, "class id '0' is used more than once"),
        ({"classes": [ROAD, CAR | {"id": 255}]}, r"class id 255 is not in 0\.\.254"),
        ({"classes": [ROAD, CAR | {"id": True}]}, "class id True is not in"),
        ({"classes": [ROAD, CAR | {"name": "road"}]}, "class name 'road' is used more than once"),
        ({"classes": [ROAD, CAR | {"name": ""}]}, "class 1 has name ''"),
        ({"classes": [ROAD, CAR | {"name": "car\nverdict  met"}]}, "has name .*, expected a text of one line"),
        ({"classes": [ROAD, CAR | {"color_rgb": [0, 0, 256]}]}, "'car' has color_rgb"),
        ({"ignore_id": 0}, "'ignore_id' is 0, expected null, or a value .* that is no class id"),
        ({"input_size_hw": [48]}, "'input_size_hw' is"),
        ({"input_size_hw": [48, 0]}, "'input_size_hw' is"),
        ({"input_size_hw": [48, 64.5]}, "'input_size_hw' is"),
        ({"input_size_hw": [16384, 16384]}, "'input_size_hw' is .*at most 8388608 pixels"),
        ({"input_size_hw": [50, 64]}, r"'image' has shape \[N, 48, 64, 3\].*asks for \[N, 50, 64, 3\]"),
        ({"mean_rgb": [0.5, 0.5]}, "'mean_rgb' is"),
        ({"mean_rgb": [0.5, 0.5, float("nan")]}, "'mean_rgb' is"),
        ({"std_rgb": [0.2, 0.2, 0]}, "'std_rgb' is .*above 0"),
        ({"precision": "fp8"}, "'precision' is 'fp8', expected one of fp32, fp16, int8"),
        ({"uncertainty_kind": "vibes"}, "'uncertainty_kind' is 'vibes', expected one of least_confidence"),
        ({"temperature": 0}, "'temperature' is 0, expected a number above 0"),
        ({"temperature": "warm"}, "'temperature' is 'warm'"),
        ({"temperature": 10**400}, "'temperature' is 10000"),
        ({"mean_rgb": [10**309, 0, 0]}, r"'mean_rgb' is \(10000"),
        ({"classes": [ROAD, CAR | {"id": 10**400}]}, "class id 10000"),
        ({"classes": [ROAD | {"id": i, "name": str(i)} for i in range(300)]}, "class id 255 is not in"),
        ({"classes": [ROAD, CAR | {"name": "\ud800"}]}, "cannot be written as JSON .*surrogates"),
        ({"training": {"recipe": "\udfff"}}, "cannot be written as JSON .*surrogates"),
        ({"training": {"list": [0] * 200_000}}, "has [0-9]+ characters, at most 262144 are accepted"),
        ({"training": []}, r"'training' is \[\], expected an object"),
        ({"validation": None}, "'validation' is None"),
        ({"held_out": []}, r"'held_out' is \[\], expected an object"),
        ({"weights_sha256": "abc"}, "'weights_sha256' is 'abc'"),
        ({"weights_sha256": "0" * 64}, "its manifest says 000000000000.*copy or export it again"),
    ],
)
def test_manifest_fields(tmp_path: Path, tiny_model: ModelFile, fields: dict[str, Any], message: str) -> None:
    path = with_manifest(tiny_model, tmp_path / "edited.onnx", **fields)
    with pytest.raises(ModelFileError, match=rf"edited\.onnx: .*{message}"):
        load_model(path)


def test_manifest_round_trip_and_what_json_cannot_hold() -> None:
    manifest = replace(tiny_manifest(), validation={"miou": 0.5}, ignore_id=None)
    assert Manifest.from_json(manifest.to_json()) == manifest
    with pytest.raises(ModelFileError, match=r"cannot be written as JSON.*finite"):
        replace(manifest, validation={"miou": float("nan")}).to_json()


def test_held_out_figures_are_written_only_where_there_are_any() -> None:
    manifest = tiny_manifest()
    assert "held_out" not in json.loads(manifest.to_json()), "versions that do not know the field read the file"
    fitted = replace(manifest, held_out={"sequences": {"0006R0": {"miou": 0.5}}, "mean": {"miou": 0.5}})
    assert Manifest.from_json(fitted.to_json()) == fitted


def rename(kind: str, old: str, new: str) -> Callable[[onnx.ModelProto], None]:
    def edit(proto: onnx.ModelProto) -> None:
        for value in getattr(proto.graph, kind):
            if value.name == old:
                value.name = new
        for node in proto.graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new

    return edit


def fix_batch(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def free_height(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "H"


def drop_channels(proto: onnx.ModelProto) -> None:
    del proto.graph.input[0].type.tensor_type.shape.dim[3]


def float_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def unknown_element_type(proto: onnx.ModelProto) -> None:
    proto.graph.output[1].type.tensor_type.elem_type = (1 << 31) - 1


def sequence_output(proto: onnx.ModelProto) -> None:
    proto.graph.output[0].type.sequence_type.elem_type.CopyFrom(proto.graph.input[0].type)


def third_output(proto: onnx.ModelProto) -> None:
    proto.graph.output.add().CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N"]))


def second_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.add().CopyFrom(helper.make_tensor_value_info("mask", TensorProto.UINT8, ["N"]))


def unknown_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "Kast"


def other_weights(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, tensor.name))


def short_weights(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]


def newer_format(proto: onnx.ModelProto) -> None:
    proto.ir_version = 99


def external_weights(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename("input", "image", "data"), r"inputs are \['data'\], expected \['image'\]"),
        (rename("output", "label", "classes"), r"outputs are \['classes', 'uncertainty'\], expected"),
        (third_output, r"outputs are \['label', 'uncertainty', 'logits'\], expected"),
        (second_input, r"inputs are \['image', 'mask'\], expected"),
        (float_input, "input 'image' is float, expected uint8"),
        (unknown_element_type, "output 'uncertainty' is element type 2147483647, expected uint8"),
        (sequence_output, "output 'label' is undefined, expected uint8"),
        (fix_batch, r"'image' has shape \[1, 48, 64, 3\].*with N dynamic"),
        (drop_channels, r"'image' has shape \[N, 48, 64\]"),
        (free_height, r"output 'label' has shape \[N, H, 64\]"),
        (unknown_operator, "not valid ONNX.*Kast"),
        (other_weights, "its weights have SHA-256 .*damaged or edited"),
        (newer_format, "of ONNX IR version 99, the installed onnx .*`pip install --upgrade onnx`"),
        (short_weights, "weights 'mean_bgr' are damaged"),
        (external_weights, "weights 'mean_bgr' are kept in another file"),
    ],
)
def test_graphs_at_odds_with_the_manifest(
    tmp_path: Path, tiny_model: ModelFile, edit: Callable[[onnx.ModelProto], None], message: str
) -> None:
    path = edited(tiny_model, tmp_path / "edited.onnx", edit)
    with pytest.raises(ModelFileError, match=rf"edited\.onnx: .*{message}"):
        load_model(path)


def test_resolve(tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model(tiny_model.path) == tiny_model.path
    shipped = write_tiny_model(tmp_path / "street.onnx").path
    monkeypatch.setattr(model_file, "MODELS_FOLDER", tmp_path)
    assert resolve_model("street") == shipped
    assert resolve_model("street.onnx") == shipped
    with pytest.raises(ModelFileError, match=r"no model 'strete'.*shipped models: street"):
        resolve_model("strete")
    monkeypatch.setattr(model_file, "MODELS_FOLDER", tmp_path / "nothing")
    with pytest.raises(ModelFileError, match="none in this installation"):
        resolve_model("street")


@pytest.mark.parametrize(
    "name", ["~nosuchuser/x.onnx", "~nosuchuser", "x" * 5000, "x" * 256, "a/" * 3000, "x\0y", "\udcff.onnx"]
)
def test_a_name_that_no_file_can_have_is_no_model(name: str) -> None:
    with pytest.raises(ModelFileError, match="no model"):
        resolve_model(name)


def test_a_model_in_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:  # who may enter every folder
        os.seteuid(65534)
    try:
        with pytest.raises(ModelFileError, match="no model"):
            resolve_model(locked / "x.onnx")
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_shipped_models_load_and_say_where_they_come_from(path: Path) -> None:
    manifest = load_model(path).manifest
    assert {"commit", "recipe"} <= manifest.training.keys()
    assert {"split", "miou"} <= manifest.validation.keys()


@pytest.mark.parametrize("path", shipped_models().values(), ids=shipped_models().keys())
def test_the_oldest_onnx_that_setup_accepts_reads_the_shipped_models(path: Path) -> None:
    setup = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'"onnx>=(\d+\.\d+)"', setup)
    (row,) = [row for row in helper.VERSION_TABLE if row[0] == f"{oldest}.0"]
    proto = onnx.load(path)
    assert proto.ir_version <= row[1]
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] <= row[2]
