"""Engines from cache to contexts: which are tried, what is kept, and how TensorRT for RTX is set up. On the fake GPU."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gpu_fixture import FakeGpu

from lwseg_ros.backends import BackendOptions, cuda, open_backend, tensorrt_builder
from lwseg_ros.backends.engine_cache import ANY, EngineCache
from lwseg_ros.backends.tensorrt_builder import build_engine, load_library
from lwseg_ros.backends.tensorrt_engines import device_keys, kernels_key
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile


@pytest.fixture
def options(tmp_path: Path) -> BackendOptions:
    return BackendOptions(max_batch=2, cache_dir=tmp_path / "engines")


def test_the_device_is_told_apart(full: FakeGpu) -> None:
    device = cuda.CudaDevice(1, "Fake GPU", "8.7", multiprocessors=16, shares_memory=False)
    assert cuda.find_device(1) == device
    with pytest.raises(BackendUnavailableError, match="there is no CUDA device 2; the machine has 2"):
        cuda.find_device(2)


def test_every_size_of_a_batch_has_a_profile_of_its_own(full: FakeGpu, tiny_model: ModelFile) -> None:
    engine = build_engine(tiny_model, BackendOptions(max_batch=3))
    (length,) = full.tensorrt.HEADER.unpack_from(engine)
    profiles = json.loads(engine[full.tensorrt.HEADER.size :][:length])["profiles"]
    assert profiles == [[[number, 48, 64, 3]] * 3 for number in (1, 2, 3)]


def test_every_cached_engine_is_tried_and_removed_before_one_is_built(
    rtx: FakeGpu, tiny_model: ModelFile, options: BackendOptions, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(options.cache_dir)
    tuned, portable = device_keys(tiny_model, options, load_library(), cuda.find_device())
    assert (tuned.compute_capability, portable.compute_capability) == ("8.7", ANY)
    cache.store(tuned, b"of another driver")
    cache.store(portable, build_engine(tiny_model, options))
    open_backend(tiny_model, "tensorrt", options).backend.close()
    assert cache.load(tuned) is None, "an engine that does not load was kept"
    assert "cannot load its engine: the magic number of the engine does not fit; it is removed" in caplog.text
    assert rtx.rtx.built_for == [], "an engine was built though one loads"

    cache.store(portable, b"of another driver")
    open_backend(tiny_model, "tensorrt", options).backend.close()
    assert rtx.rtx.built_for == [rtx.rtx.ComputeCapability.CURRENT]
    assert cache.load(tuned) is not None
    assert cache.load(portable) is None


def test_a_built_engine_is_found_again(full: FakeGpu, tiny_model: ModelFile, options: BackendOptions) -> None:
    steps: list[tuple[str, int, int]] = []
    watched = BackendOptions(
        max_batch=2, cache_dir=options.cache_dir, build_progress=lambda *step: steps.append(step) or True
    )
    open_backend(tiny_model, "tensorrt", watched).backend.close()
    assert steps[-1] == ("Building Engine", 3, 3)
    steps.clear()
    open_backend(tiny_model, "tensorrt", watched).backend.close()
    assert steps == []


def test_a_build_can_be_interrupted(full: FakeGpu, tiny_model: ModelFile, tmp_path: Path) -> None:
    options = BackendOptions(cache_dir=tmp_path / "engines", build_progress=lambda *_: False)
    with pytest.raises(BackendError, match=r"building the engine of .*tiny\.onnx was interrupted"):
        open_backend(tiny_model, "tensorrt", options)
    assert full.cuda.live_objects() == (0, 0)
    assert not (tmp_path / "engines").exists()


def test_a_cache_that_cannot_be_written_costs_a_warning(
    rtx: FakeGpu, tiny_model: ModelFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    options = BackendOptions(cache_dir=tmp_path / "file" / "engines")
    with caplog.at_level(logging.WARNING):
        open_backend(tiny_model, "tensorrt", options).backend.close()
    assert "the engine is not kept: " in caplog.text


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_rtx_compiles_its_kernels_when_it_is_opened_and_captures_by_its_own_setting(
    rtx: FakeGpu, tiny_model: ModelFile, tmp_path: Path, images: np.ndarray, cuda_graphs: bool
) -> None:
    options = BackendOptions(max_batch=2, cache_dir=tmp_path, cuda_graphs=cuda_graphs)
    backend = open_backend(tiny_model, "tensorrt", options).backend
    assert rtx.rtx.compiled == ["1x48x64x3", "2x48x64x3"]
    backend.infer(images[:1])
    backend.infer(images[:2])
    assert len(rtx.rtx.compiled) == 2, "a frame waited for a kernel"
    backend.close()
    for config in rtx.rtx.configs:
        assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
        assert config.cuda_graph_strategy.name == ("WHOLE_GRAPH_CAPTURE" if cuda_graphs else "DISABLED")


def test_rtx_keeps_its_kernels_beside_the_engine(
    rtx: FakeGpu, tiny_model: ModelFile, options: BackendOptions, caplog: pytest.LogCaptureFixture
) -> None:
    open_backend(tiny_model, "tensorrt", options).backend.close()
    rtx.rtx.compiled.clear()
    key = kernels_key(tiny_model, options, load_library(), cuda.find_device())
    cache = EngineCache(options.cache_dir)
    written = cache.path_of(key).stat().st_mtime_ns
    assert {path.suffix for path in cache.folder.iterdir()} == {".engine", ".kernels"}
    open_backend(tiny_model, "tensorrt", options).backend.close()
    assert rtx.rtx.compiled == []
    assert cache.path_of(key).stat().st_mtime_ns == written, "the same kernels were written again"

    cache.store(key, b"of another driver")
    with caplog.at_level(logging.INFO):
        open_backend(tiny_model, "tensorrt", options).backend.close()
    assert "are for another device or driver; they are compiled again" in caplog.text
    assert len(rtx.rtx.compiled) == 2
    assert cache.load(key) != b"of another driver"


@pytest.mark.parametrize(
    ("version", "accepted"), [("8.6.1", False), ("9.3.0.post12", False), ("10.0.1", True), ("11.1.0", True)]
)
def test_a_tensorrt_before_10_is_refused(
    full: FakeGpu, monkeypatch: pytest.MonkeyPatch, version: str, accepted: bool
) -> None:
    monkeypatch.setattr(full.tensorrt, "__version__", version)
    if accepted:
        assert load_library().version == version
    else:
        with pytest.raises(BackendUnavailableError, match=rf"tensorrt {version} is too old, expected 10 or later"):
            load_library()


def test_rtx_serves_where_the_full_library_is_too_old(full: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full.tensorrt, "__version__", "8.6.1")
    monkeypatch.setattr(tensorrt_builder, "LIBRARIES", ("tensorrt", "tensorrt_rtx"))
    assert load_library().name == "tensorrt_rtx"


def test_no_room_for_a_context(
    full: FakeGpu, tiny_model: ModelFile, options: BackendOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, strategy: Any) -> None:
        self.log.log(full.tensorrt.ILogger.ERROR, "out of memory")

    monkeypatch.setattr(full.tensorrt.Engine, "create_execution_context", refuse)
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0 has no room for its engine: out of memory"):
        open_backend(tiny_model, "tensorrt", options)
    assert full.cuda.live_objects() == (0, 0)
