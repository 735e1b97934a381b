"""`lwseg build`, as a script uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.conversions import copied, write_conversion

from lwseg_ros.backends import BackendOptions, load_runtime, tensorrt_builder
from lwseg_ros.backends.engine_cache import EngineCache
from lwseg_ros.backends.tensorrt_builder import engine_key, load_library
from lwseg_ros.cli import main
from lwseg_ros.model.model_file import ModelFile


@pytest.fixture(autouse=True)
def _without_device() -> None:
    if tensorrt_builder.installed_library() is None:
        pytest.skip(tensorrt_builder.MISSING)
    if load_library().needs_device_to_build:
        pytest.skip("the full TensorRT builds on its device only")


def test_builds_into_the_cache_without_a_gpu(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "engines"
    command = ["build", str(tiny_model.path), "--cpu-only", "--max-batch", "2", "--cache-dir", str(folder)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    (path,) = folder.iterdir()
    assert str(path) in printed
    assert "built; " in printed
    assert "it was not run here" in printed
    key = engine_key(tiny_model, BackendOptions(max_batch=2), load_library())
    assert len(EngineCache(folder).load(key) or b"") > 1000
    written = path.stat().st_mtime_ns
    assert main(command) == 0
    assert "was there already" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == written


def test_a_compute_capability_is_another_engine(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["build", str(tiny_model.path), "--cpu-only", "--cache-dir", str(tmp_path / "engines")]
    assert main(command) == 0
    assert main([*command, "--compute-capability", "8.9"]) == 0
    assert "for compute capability 8.9" in capsys.readouterr().out
    assert len(list((tmp_path / "engines").iterdir())) == 2
    assert main([*command, "--compute-capability", "1.0"]) == 1
    assert "'1.0' is none of" in capsys.readouterr().err


def test_a_precision_that_is_not_there_is_refused(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["build", str(tiny_model.path), "--cpu-only", "--cache-dir", str(tmp_path / "engines"), "--precision"]
    assert main([*command, "fp16"]) == 1
    error = capsys.readouterr().err
    assert "is fp32, and beside it is no tiny.fp16.onnx" in error
    assert "--precision fp16 --data DIR -o" in error
    assert not (tmp_path / "engines").exists()
    assert main([*command, "fp32"]) == 0


def test_builds_the_file_that_the_node_takes(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = copied(tiny_model, tmp_path)
    half = write_conversion(parent, "fp16")
    command = ["build", str(parent.path), "--cpu-only", "--cache-dir", str(tmp_path / "engines")]
    assert main(command) == 0
    assert ", fp16, max_batch 1" in capsys.readouterr().out
    key = engine_key(half, BackendOptions(), load_library())
    assert EngineCache(tmp_path / "engines").load(key)
    assert main([*command, "--precision", "fp32"]) == 0
    assert ", fp32, max_batch 1" in capsys.readouterr().out


def test_without_a_device(tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if load_runtime("tensorrt").probe(BackendOptions()).available:
        pytest.skip("this machine has a CUDA device")
    assert main(["build", str(tiny_model.path), "--cache-dir", str(tmp_path / "engines")]) == 1
    assert "build on the vehicle, or with --cpu-only" in capsys.readouterr().err


@pytest.mark.gpu
def test_with_a_device(tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    probe = load_runtime("tensorrt").probe(BackendOptions())
    if not probe.available:
        pytest.skip(f"tensorrt: {probe.detail}")
    assert main(["build", str(tiny_model.path), "--cache-dir", str(tmp_path / "engines")]) == 0
    assert "built; " in capsys.readouterr().out


@pytest.mark.parametrize(
    "options", [["--max-batch", "0"], ["--max-batch", "two"], ["--device", "-1"], ["--compute-capability", "8.9"]]
)
def test_wrong_usage(tiny_model: ModelFile, options: list[str]) -> None:
    assert main(["build", str(tiny_model.path), *options]) == 2
