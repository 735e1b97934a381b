"""`lwseg adopt` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.foreign_graphs import write_data, write_foreign
from support.tiny_model import CLASSES, MEAN_RGB

from lwseg_ros.cli import main
from lwseg_ros.datasets import load_split
from lwseg_ros.evaluation.split import evaluate_split
from lwseg_ros.model.model_file import load_model
from lwseg_ros.segmenter import Segmenter


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    entries = [{"name": info.name, "color": [*info.color_rgb]} for info in CLASSES[1:]]
    path.write_text(yaml.safe_dump({"classes": [CLASSES[0].name, *entries]}), encoding="utf-8")
    return path


def test_what_was_found_and_measured_is_printed(
    tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_foreign(tmp_path / "net.onnx", stride=4)
    model = tmp_path / "model.onnx"
    assert main(["adopt", str(tmp_path / "net.onnx"), "--classes", str(classes), "-o", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "input 'pixels' [1, 3, 48, 64]: (RGB pixel * 1 / 255 - mean 0.485,0.456,0.406) / std" in printed
    assert "ImageNet's where not given" in printed
    assert "output 'logits' [1, 5, 12, 16]: logits of 5 classes, brought to 48 x 64" in printed
    assert "temperature 1, not calibrated: --data DIR fits it" in printed
    assert "same labels as net.onnx in ONNX Runtime on 100.0000% of the pixels of 4 images of noise" in printed
    manifest = load_model(model).manifest
    assert (manifest.network, manifest.mean_rgb) == ("net", MEAN_RGB)
    assert [info.name for info in manifest.classes] == [info.name for info in CLASSES]
    assert manifest.classes[1:] == CLASSES[1:]


def test_labelled_images_fit_the_temperature_and_give_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_foreign(tmp_path / "net.onnx")
    data = write_data(tmp_path, 4, [info.name for info in CLASSES])
    model = tmp_path / "model.onnx"
    options = ["--classes", str(data / "dataset.yaml"), "--data", str(data), "-o", str(model), "--json"]
    assert main(["adopt", str(tmp_path / "net.onnx"), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["output"] == {"name": "logits", "shape": [1, 5, 48, 64], "values": "logits"}
    assert report["calibration"]["nll_after"] < report["calibration"]["nll_before"]
    manifest = load_model(model).manifest
    assert manifest.temperature == report["calibration"]["temperature"] != 1
    assert manifest.training["calibrated"] is True
    figures = report["validation"]
    assert manifest.validation == figures
    assert (figures["dataset"], figures["split"], figures["images"]) == ("painted", "val", 4)
    with Segmenter.open(model, "onnxruntime") as segmenter:
        expected = evaluate_split(segmenter, load_split("folder", data, "val"))
    assert figures["miou"] == pytest.approx(expected["miou"], abs=1e-4)
    assert figures["ece"] == pytest.approx(expected["uncertainty"]["ece"], abs=1e-4)
    assert 0.6 < figures["miou"] < 0.95, "a tenth of the pixels is labelled at random"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "123.675,116.28,103.53"], "are not of pixels from 0 to 1; add --largest 255"),
        (["--largest", "255", "--std", "0.229,0.224,0.225"], "are not of pixels from 0 to 255; leave --largest out"),
        (["--std", "1,0,1"], "--std 1,0,1 divides, and has to be above 0"),
        (["--mean", "0.5"], "'0.5' is not three numbers such as 0.485,0.456,0.406"),
        (["--split", "val"], "--dataset and --split are for --data; add that"),
    ],
)
def test_wrong_usage(
    options: list[str], message: str, tmp_path: Path, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "net.onnx"), "--classes", str(classes), "-o", str(tmp_path / "model.onnx"), *options]
    assert main(["adopt", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b]", "it has no key classes"),
        ("classes: [a, a]", "class 1 has the name 'a', expected a text that no other class has"),
        (None, "no file"),
    ],
)
def test_classes_that_cannot_be_read(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "classes.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    arguments = [str(tmp_path / "net.onnx"), "--classes", str(path), "-o", str(tmp_path / "model.onnx")]
    assert main(["adopt", *arguments]) == 1
    assert message in capsys.readouterr().err
