"""Which of a model's files a runtime opens, and what is said about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.conversions import copied, with_infinite_weights, write_conversion

from lwseg_ros.backends import BackendOptions, load_runtime, openvino, tensorrt
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile, save_model
from lwseg_ros.segmenter import Segmenter


@pytest.fixture
def parent(tiny_model: ModelFile, tmp_path: Path) -> ModelFile:
    return copied(tiny_model, tmp_path)


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A description of a processor with instructions for int8."""
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nflags\t\t: fpu sse avx512f avx512_vnni\nbugs\t\t: \n")
    monkeypatch.setattr(openvino, "CPU_INFO", path)
    return path


def test_openvino_takes_int8_where_the_processor_has_instructions_for_it(parent: ModelFile, vnni: Path) -> None:
    converted = write_conversion(parent, "int8")
    with Segmenter.open(parent.path, "openvino") as segmenter:
        assert segmenter.model.sha256 == converted.sha256
        assert segmenter.backend.precision == "int8"
        assert segmenter.choice.reason == "openvino was asked for, tiny.int8.onnx in the place of tiny.onnx"
        assert segmenter.choice.fallback_reason is None
    vnni.write_text("flags\t\t: fpu sse avx512f\n")
    with Segmenter.open(parent.path, "openvino") as segmenter:
        assert segmenter.model.sha256 == parent.sha256
    vnni.unlink()
    assert openvino.preferred_precisions(BackendOptions()) == ()


def test_auto_says_which_file_it_took(parent: ModelFile, vnni: Path) -> None:
    write_conversion(parent, "int8")
    lost = {"tensorrt": "not here"}
    with Segmenter.open(parent.path, lost=lost) as segmenter:
        assert segmenter.choice.reason.startswith(
            "openvino (on the CPU), tiny.int8.onnx in the place of tiny.onnx; not"
        )
    with Segmenter.open(parent.path, precision="fp32", lost=lost) as segmenter:
        assert segmenter.model.sha256 == parent.sha256
        assert "in the place of" not in segmenter.choice.reason


def test_onnxruntime_stays_with_the_model_itself(parent: ModelFile) -> None:
    write_conversion(parent, "int8")
    with Segmenter.open(parent.path, "onnxruntime") as segmenter:
        assert segmenter.model.sha256 == parent.sha256
    with Segmenter.open(f"{parent.path}:int8", "onnxruntime") as segmenter:
        assert segmenter.backend.precision == "int8"


def test_tensorrt_prefers_int8_only_with_the_full_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "installed_library", lambda: "tensorrt")
    assert tensorrt.preferred_precisions(BackendOptions()) == ("int8", "fp16")
    monkeypatch.setattr(tensorrt, "installed_library", lambda: "tensorrt_rtx")
    assert tensorrt.preferred_precisions(BackendOptions()) == ("fp16",)


def test_a_conversion_that_does_not_open_is_passed_over_and_said(
    parent: ModelFile, vnni: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = write_conversion(parent, "int8")
    opened = load_runtime("openvino").open

    def fail_on_int8(model: ModelFile, options: BackendOptions) -> Any:
        if model.manifest.precision == "int8":
            raise BackendError("no suitable implementation")
        return opened(model, options)

    monkeypatch.setattr(openvino, "open", fail_on_int8)
    with Segmenter.open(parent.path, "openvino") as segmenter:
        assert segmenter.model.sha256 == parent.sha256
        assert segmenter.choice.fallback_reason == "openvino: no suitable implementation"
    monkeypatch.undo()
    manifest = replace(converted.manifest, weights_sha256="")
    save_model(with_infinite_weights(converted), manifest, converted.path)
    monkeypatch.setattr(openvino, "CPU_INFO", vnni)
    with Segmenter.open(parent.path, "openvino") as segmenter:
        assert segmenter.model.sha256 == parent.sha256
        assert "are not finite" in str(segmenter.choice.fallback_reason)


def test_a_refused_conversion_is_diagnosed(parent: ModelFile, vnni: Path) -> None:
    write_conversion(parent, "int8", sha256="cd" * 32)
    with Segmenter.open(parent.path, "openvino") as segmenter:
        assert segmenter.model.sha256 == parent.sha256
        assert "tiny.int8.onnx was made of another file" in str(segmenter.choice.fallback_reason)
