"""From a model file to the same model in another precision: what is written, and when nothing is."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lwseg_training.commands import quantize
from lwseg_training.conversion import comparison
from lwseg_training.conversion.convert import Calibration, convert
from lwseg_training.export.parity import ParityError
from onnx import numpy_helper
from support.camvid_miniature import write_miniature
from support.conversions import copied
from support.tiny_model import tiny_graph, tiny_manifest

from lwseg_ros.datasets import Split
from lwseg_ros.errors import BackendUnavailableError, DatasetError, LwsegError, ModelFileError, UsageError
from lwseg_ros.model.model_file import ModelFile, load_model, save_model
from lwseg_ros.model.precisions import find_model

pytest.importorskip("nncf", reason="int8 needs NNCF: pip install -e './training[quantize]'")

Splits = tuple[Split, Split]


@pytest.fixture
def parent(tiny_model: ModelFile, tmp_path: Path) -> ModelFile:
    return copied(tiny_model, tmp_path)


def fragile(path: Path) -> ModelFile:
    """Write a tiny model with one feature 3000 times as large as the others, so that a common scale of 8 bits leaves nothing of
    these; what it computes is the same."""
    graph = tiny_graph()
    factors = np.array([3000, 1, 1, 1, 1, 1], np.float32)
    scaled = {"mean_filter": factors.reshape(6, 1, 1, 1), "matching": 1 / factors.reshape(1, 6, 1, 1)}
    for tensor in graph.graph.initializer:
        if tensor.name in scaled:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * scaled[tensor.name], tensor.name))
    return save_model(graph, tiny_manifest(), path)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_file_is_found_beside_its_parent_and_says_what_was_measured(
    parent: ModelFile, painted: Splits, precision: str
) -> None:
    train, val = painted
    calibration = Calibration(train, 4) if precision == "int8" else None
    path = parent.path.with_name(f"tiny.{precision}.onnx")
    written, _ = convert(parent, path, val, calibration)
    found = find_model(parent.path).others[precision]
    assert found.sha256 == written.sha256
    said = found.manifest.parent
    assert (said["sha256"], said["split"], said["images"]) == (parent.sha256, "val", 6)
    assert {"openvino", "onnxruntime"} <= said["runtimes"].keys()
    for figures in said["runtimes"].values():
        assert figures["equal_labels"] > 0.98
        assert abs(figures["miou_change"]) <= 0.005
        assert figures["library_version"]
    assert said["runtimes"]["onnxruntime"]["precision"] == precision
    assert found.manifest.validation["miou"] == said["runtimes"]["onnxruntime"]["miou"]
    assert found.manifest.classes == parent.manifest.classes
    assert found.manifest.temperature == parent.manifest.temperature
    if precision == "int8":
        assert said["calibration"] == {"split": "train", "images": 4, "seed": 0}
        assert said["float_layers"] == []
        assert convert(parent, path, val, calibration)[0].sha256 == written.sha256


def test_the_images_drawn_depend_on_the_seed_alone(painted: Splits) -> None:
    train, _ = painted
    drawn = [np.stack(Calibration(train, 4, seed).images((48, 64))) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(Calibration(train, 100).images((24, 32))) == 6


def test_layers_that_cost_too_much_stay_in_floating_point(tmp_path: Path, painted: Splits) -> None:
    train, val = painted
    model = fragile(tmp_path / "fragile.onnx")
    written, measured = convert(model, tmp_path / "fragile.int8.onnx", val, Calibration(train, 4))
    assert written.manifest.parent["float_layers"]
    assert all(entry.miou_change >= -comparison.MAX_MIOU_LOSS for entry in measured.runtimes.values())


def test_a_file_that_is_not_good_enough_in_a_runtime_is_not_written(
    parent: ModelFile, painted: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(comparison.MIN_EQUAL_LABELS, "fp16", 1.1)
    path = parent.path.with_name("tiny.fp16.onnx")
    with pytest.raises(
        ParityError, match=r"the fp16 file in openvino gives the labels .*; in onnxruntime gives the labels .*110"
    ):
        convert(parent, path, painted[1], None)
    assert not path.exists()


def test_what_was_compared_with_nothing_is_not_written(
    parent: ModelFile, painted: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.fp16.onnx"
    with pytest.raises(DatasetError, match="painted colours val has no images to compare on"):
        convert(parent, path, replace(painted[1], pairs=()), None)
    monkeypatch.setattr(comparison, "BACKENDS", {})
    with pytest.raises(BackendUnavailableError, match="no runtime is there to compare in"):
        convert(parent, path, painted[1], None)
    assert not path.exists()


def test_only_an_exported_fp32_file_is_converted(parent: ModelFile, painted: Splits) -> None:
    half, _ = convert(parent, parent.path.with_name("tiny.fp16.onnx"), painted[1], None)
    with pytest.raises(ModelFileError, match="is fp16; convert the fp32 file that `lwseg export` wrote"):
        convert(half, parent.path.with_name("again.onnx"), painted[1], None)


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    quantize.add_arguments(parser)
    return quantize.run(parser.parse_args(arguments))


def test_the_command(
    parent: ModelFile,
    painted: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    splits = dict(zip(("train", "val"), painted, strict=True))
    monkeypatch.setattr(quantize, "DATASETS", {"painted colours": None})
    monkeypatch.setattr(quantize, "load_split", lambda name, root, split: splits[split])
    assert command(str(parent.path), "--data", str(tmp_path), "--images", "4", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    path = parent.path.with_name("tiny.int8.onnx")
    assert report["model"] == str(path)
    assert report["sha256"] == load_model(path).sha256
    assert report["parent"]["sha256"] == parent.sha256
    other = tmp_path / "half.onnx"
    assert command(str(parent.path), "--data", str(tmp_path), "--precision", "fp16", "-o", str(other)) == 0
    printed = capsys.readouterr().out
    assert "same labels on" in printed
    assert "the node takes it in the place of tiny.onnx where it lies beside that as tiny.fp16.onnx" in printed
    with pytest.raises(UsageError, match="another than MODEL"):
        command(str(parent.path), "--data", str(tmp_path), "-o", str(parent.path))


def test_a_data_set_that_is_not_the_models(parent: ModelFile, tmp_path: Path) -> None:
    root = write_miniature(tmp_path / "camvid")
    with pytest.raises(
        UsageError, match="trained on 'painted colours', which is no data set known here; name one with --dataset"
    ):
        command(str(parent.path), "--data", str(root))
    with pytest.raises(LwsegError, match="the model has 5 classes, camvid has 11"):
        command(str(parent.path), "--data", str(root), "--dataset", "camvid")
