"""Which files are one model in several precisions, and which are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.conversions import copied, write_conversion
from support.tiny_model import tiny_manifest

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model import model_file
from lwseg_ros.model.model_file import ModelFile, shipped_models
from lwseg_ros.model.precisions import find_model, split_precision


@pytest.fixture
def parent(tiny_model: ModelFile, tmp_path: Path) -> ModelFile:
    return copied(tiny_model, tmp_path)


def test_a_file_alone(parent: ModelFile) -> None:
    found = find_model(parent.path)
    assert (found.model.sha256, dict(found.others), found.refused) == (parent.sha256, {}, ())
    assert find_model(parent.path, "fp32").model.sha256 == parent.sha256


def test_conversions_beside_it_are_found_and_ordered_as_preferred(parent: ModelFile) -> None:
    files = {precision: write_conversion(parent, precision) for precision in ("fp16", "int8")}
    found = find_model(str(parent.path))
    assert {name: file.sha256 for name, file in found.others.items()} == {n: f.sha256 for n, f in files.items()}
    assert [file.path.name for file in found.best_first(("int8", "fp16"))] == [
        "tiny.int8.onnx",
        "tiny.fp16.onnx",
        "tiny.onnx",
    ]
    assert [file.path.name for file in found.best_first(())] == ["tiny.onnx"]


@pytest.mark.parametrize(("name", "precision"), [("{}:int8", "auto"), ("{}", "int8"), ("{}:int8", "int8")])
def test_a_precision_that_is_asked_for_is_the_only_one(parent: ModelFile, name: str, precision: str) -> None:
    converted = write_conversion(parent, "int8")
    found = find_model(name.format(parent.path), precision)
    assert (found.model.sha256, dict(found.others)) == (converted.sha256, {})
    kept = find_model(f"{parent.path}:fp32")
    assert (kept.model.sha256, dict(kept.others)) == (parent.sha256, {})


def test_a_conversion_by_its_own_path_is_taken_as_it_is(parent: ModelFile) -> None:
    converted = write_conversion(parent, "fp16")
    write_conversion(converted, "int8")
    found = find_model(converted.path)
    assert (found.model.sha256, dict(found.others)) == (converted.sha256, {})


def test_a_precision_that_is_not_there_names_what_makes_it(parent: ModelFile) -> None:
    with pytest.raises(
        ModelFileError,
        match=r"beside it is no tiny.int8.onnx; `lwseg quantize .*--precision int8 --data DIR -o .*\./training\[quantize\]",
    ):
        find_model(parent.path, "int8")
    half = write_conversion(parent, "fp16")
    with pytest.raises(ModelFileError, match="is fp16, and no fp32 is made of that"):
        find_model(half.path, "fp32")
    with pytest.raises(ModelFileError, match="precision is 'int4', expected one of auto, fp32, fp16, int8"):
        find_model(parent.path, "int4")
    with pytest.raises(ModelFileError, match="names a precision, and fp16 is asked for"):
        find_model(f"{parent.path}:int8", "fp16")


def test_a_conversion_of_another_file_is_refused_and_said(parent: ModelFile) -> None:
    write_conversion(parent, "int8", sha256="ab" * 32)
    found = find_model(parent.path)
    assert dict(found.others) == {}
    (refused,) = found.refused
    assert refused.startswith(
        f"model file {parent.path.with_name('tiny.int8.onnx')} was made of another file (SHA-256 abab"
    )
    with pytest.raises(ModelFileError, match="was made of another file"):
        find_model(parent.path, "int8")


def test_a_file_that_does_not_say_what_it_was_made_of_or_is_of_another_precision_is_refused(parent: ModelFile) -> None:
    write_conversion(parent, "int8", parent={})
    assert "was made of another file (SHA-256 None)" in find_model(parent.path).refused[0]
    write_conversion(parent, "int8", precision="fp32", parent={"sha256": parent.sha256})
    assert "is fp32, not int8" in find_model(parent.path).refused[0]


def test_a_damaged_conversion_is_refused(parent: ModelFile) -> None:
    write_conversion(parent, "int8").path.write_bytes(parent.data[:-100])
    assert "tiny.int8.onnx" in find_model(parent.path).refused[0]


def test_splitting_a_name() -> None:
    assert split_precision("lite_seg0_camvid:int8") == ("lite_seg0_camvid", "int8")
    assert split_precision("C:model.onnx") == ("C:model.onnx", "auto")
    assert split_precision(Path("a/b.onnx")) == (Path("a/b.onnx"), "auto")


def test_conversions_have_no_name_of_their_own(parent: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    write_conversion(parent, "int8")
    monkeypatch.setattr(model_file, "MODELS_FOLDER", parent.path.parent)
    assert list(shipped_models()) == ["tiny"]
    assert find_model("tiny:int8").model.manifest.precision == "int8"


def test_what_a_file_was_made_of_is_written_only_where_it_was_made_of_another(parent: ModelFile) -> None:
    assert "parent" not in json.loads(parent.manifest.to_json()), "older versions read the file"
    assert write_conversion(parent, "int8").manifest.parent_sha256 == parent.sha256
    with pytest.raises(ModelFileError, match=r"manifest field 'parent' is {'sha256': 'abc'}, expected a sha256 of 64"):
        replace(tiny_manifest(), parent={"sha256": "abc"})
