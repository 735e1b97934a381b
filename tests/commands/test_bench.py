"""`lwseg bench`: figures that fit together, with what they depend on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.conversions import copied, write_conversion

from lwseg_ros.backends import BackendOptions, load_runtime
from lwseg_ros.cli import main
from lwseg_ros.model.model_file import ModelFile


def test_json_holds_figures_and_what_was_measured(tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_model.path), "--batch", "2", "--threads", "1", "--seconds", "0.3", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["model"]["sha256"] == tiny_model.sha256
    assert figures["model"]["input_size_hw"] == [48, 64]
    assert (figures["batch"], figures["threads"], figures["baseline"]) == (2, 1, "onnxruntime")
    assert figures["machine"]["processor"]
    assert figures["machine"]["cores"] >= 1
    assert figures["backends"].keys() == {"tensorrt", "openvino", "onnxruntime"}
    measured = {name: result for name, result in figures["backends"].items() if "unavailable" not in result}
    assert {"openvino", "onnxruntime"} <= measured.keys()
    for result in measured.values():
        latency = result["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
        assert result["calls"] >= 5
        assert result["images_per_s"] > 0
        assert result["library_version"]
        assert result["precision"]
        expected = measured["onnxruntime"]["latency_ms"]["p50"] / latency["p50"]
        assert result["times_as_fast_as_baseline"] == pytest.approx(expected, rel=0.02)
    assert measured["onnxruntime"]["times_as_fast_as_baseline"] == 1
    if not load_runtime("tensorrt").probe(BackendOptions()).available:
        assert "unavailable" in figures["backends"]["tensorrt"]


def test_table_and_one_backend_without_its_baseline(tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_model.path), "--backend", "openvino", "--seconds", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny.onnx: tiny, fp32, 48 x 64, batch 1"
    row = lines[-1].split()
    assert row[0] == "openvino"
    assert row[-1] == "-"
    assert not any("onnxruntime " in line for line in lines[5:])


def test_a_named_runtime_that_is_not_there(tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]) -> None:
    if load_runtime("tensorrt").probe(BackendOptions()).available:
        pytest.skip("this machine has a CUDA device and TensorRT")
    assert main(["bench", str(tiny_model.path), "--backend", "tensorrt", "--seconds", "0.1"]) == 1
    assert "lwseg bench:" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--seconds", "0"], ["--seconds", "nan"], ["--batch", "0"], ["--threads", "-2"]])
def test_wrong_usage(tiny_model: ModelFile, options: list[str]) -> None:
    assert main(["bench", str(tiny_model.path), *options]) == 2


def test_each_runtime_is_measured_with_the_file_that_it_takes(
    tiny_model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = copied(tiny_model, tmp_path)
    write_conversion(parent, "int8")
    monkeypatch.setattr(load_runtime("openvino"), "preferred_precisions", lambda options: ("int8",))
    assert main(["bench", str(parent.path), "--seconds", "0.1", "--threads", "1", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["backends"]
    files = {name: (measured[name]["file"], measured[name]["precision"]) for name in ("openvino", "onnxruntime")}
    assert files == {"openvino": ("tiny.int8.onnx", "int8"), "onnxruntime": ("tiny.onnx", "fp32")}
