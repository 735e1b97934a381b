"""What is done with a model file is done with an adopted one: conversion, benchmark, replay."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import pytest
from lwseg_training.adoption.adopt import Wish, adopt
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bag_files import TYPESTORE
from support.foreign_graphs import SIZE_HW, Form, write_data, write_foreign
from support.tiny_model import CLASSES, painted_image

from lwseg_ros.cli import main
from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.model.precisions import find_model
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.segmenter import Segmenter


def adopted(folder: Path, form: Form) -> ModelFile:
    write_foreign(folder / "foreign.onnx", form)
    return adopt(folder / "foreign.onnx", folder / "model.onnx", form.classes, Wish(form.mean, form.std)).model


def first_of_sample_bag(path: Path, num_messages: int) -> Path:
    """Copy the first messages of the sample bag."""
    with AnyReader([SAMPLE_BAG]) as reader, Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        copies = {
            connection.id: writer.add_connection(connection.topic, connection.msgtype, typestore=TYPESTORE)
            for connection in reader.connections
        }
        for connection, stamp_ns, data in itertools.islice(reader.messages(), num_messages):
            writer.write(copies[connection.id], stamp_ns, data)
    return path


@pytest.mark.parametrize("ends_in", ["logits", "labels"])
def test_it_is_quantized(tmp_path: Path, ends_in: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nncf", reason="int8 needs NNCF: pip install -e './training[quantize]'")
    parent = adopted(tmp_path, Form(ends_in=ends_in))
    data = write_data(tmp_path, 2, [info.name for info in CLASSES])
    command = ["quantize", str(parent.path), "--data", str(data), "--calibration-split", "val", "--threads", "1"]
    assert main(command) == 2
    assert "trained on 'unknown', which is no data set known here; name one with --dataset" in capsys.readouterr().err
    assert main([*command, "--dataset", "folder", "--json"]) == 0
    converted = find_model(parent.path).others["int8"]
    said = converted.manifest
    assert (said.uncertainty_kind, said.training) == (parent.manifest.uncertainty_kind, parent.manifest.training)
    assert said.validation == json.loads(capsys.readouterr().out)["validation"]
    assert ("ece" in said.validation) == (ends_in == "logits")
    images = [painted_image(SIZE_HW, seed)[0] for seed in (7, 8)]
    with Segmenter.open(parent.path, precision="int8") as quantized, Segmenter.open(parent.path) as whole:
        assert quantized.model.path == converted.path
        for image in images:
            (got,), (expected,) = quantized.segment([image]), whole.segment([image])
            assert (got.label == expected.label).mean() > 0.98
            assert (got.uncertainty == 255).all() == (ends_in == "labels")


@pytest.fixture(scope="module")
def giving_labels(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A network that names the nearest of CamVid's class colours, and gives labels alone."""
    return adopted(tmp_path_factory.mktemp("labels"), Form(ends_in="labels", classes=CAMVID_CLASSES))


def test_it_is_timed(giving_labels: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "bench",
        str(giving_labels.path),
        "--backend",
        "openvino",
        "--threads",
        "1",
        "--seconds",
        "0.1",
        "--json",
    ]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["model"]["sha256"] == giving_labels.sha256
    assert figures["backends"]["openvino"]["latency_ms"]["p50"] > 0


def test_it_is_replayed_without_figures_of_an_uncertainty(
    giving_labels: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = first_of_sample_bag(tmp_path / "bag", 12)
    command = ["replay", str(bag), "--offline", "--model", str(giving_labels.path), "--ignore-id", "11", "--json"]
    assert main([*command, "--backend", "onnxruntime", "-o", str(tmp_path / "out"), "--require", "ece<=0.5"]) == 3
    figures = json.loads(capsys.readouterr().out)
    assert figures["frames"]["segmented"] == figures["frames"]["published"] > 1
    assert 0 < figures["miou"] < 0.5
    unknown = {name: figures["uncertainty"][name] for name in ("ece", "auroc", "aurc", "nll", "brier", "bins")}
    assert set(unknown.values()) == {None}, "what is not known is not measured"
    assert figures["accepted"] is None
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["frames"]["published"]
    assert all(row["pixel_accuracy"] and not row["mean_uncertainty"] for row in rows)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The worst, by mIoU" in page
    assert "The most uncertain" not in page
