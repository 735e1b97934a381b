"""The GPU benchmark's own arithmetic, and that it goes on where something is missing. Times are those of the fake GPU: none."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.gpu_fixture import FakeGpu, fake_gpu

from benchmarks import gpu, gpu_contenders
from lwseg_ros.model.model_file import ModelFile


@pytest.fixture
def device() -> Iterator[FakeGpu]:
    with fake_gpu("tensorrt") as found:
        yield found


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_network_is_measured_and_what_is_missing_is_said(
    device: FakeGpu, tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--network", "dwrseg_b", "nobody", "--size", "64x128", "--precision", "fp16", "--batch", "1", "2"]
    command += ["--model", str(tiny_model.path), "no_such_model", "--seconds", "0.01", "--out", str(tmp_path)]
    assert gpu.main(command) == 0
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert figures["card"] == "Fake GPU"
    assert set(figures["not_made"]) == {"nobody, 64 x 128, fp16", "no_such_model"}
    rows = {(row["network"], row["precision"], row["batch"]): row for row in figures["rows"]}
    assert set(rows) == {("dwrseg_b", "fp16", 1), ("dwrseg_b", "fp16", 2), ("tiny", "fp32", 1), ("tiny", "fp32", 2)}
    for row in rows.values():
        ours = row["contenders"]["tensorrt"]
        assert ours["engine_ms"] > 0
        assert ours["latency_ms"]["p50"] <= ours["latency_ms"]["p99"]
        assert "self-check: 100.00%" in ours["checked"]
        assert "has no CUDAExecutionProvider" in row["contenders"]["onnxruntime cuda"]["missing"]
    if not torch.cuda.is_available():
        peers = rows["dwrseg_b", "fp16", 1]["contenders"]
        assert "finds no CUDA device" in peers["pytorch eager"]["missing"]
        assert "finds no CUDA device" in peers["pytorch compiled"]["missing"]
        assert peers["tensorrt"]["share_of_peak"] is None
    assert "pytorch eager" not in rows["tiny", "fp32", 1]["contenders"]
    printed = capsys.readouterr().out
    assert "Fake GPU, driver " in printed
    assert "| dwrseg_b | 64 x 128 | fp16 | 2 | tensorrt |" in printed
    assert "not made: ModelFileError" not in printed
    assert "| no_such_model | not made: no model 'no_such_model'" in printed
    assert device.cuda.live_objects() == (0, 0)


def test_without_a_gpu_it_says_what_is_missing_and_fails(
    tmp_path: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    command = ["--network", "--model", str(tiny_model.path), "--seconds", "0.01", "--out", str(tmp_path)]
    assert gpu.main(command) == 1
    assert "gpu: nothing could be measured: " in capsys.readouterr().err


@pytest.mark.parametrize(("card", "found"), [("NVIDIA H100 80GB HBM3", 2), ("Orin", 0)])
def test_the_target_is_that_of_its_class_of_cards(card: str, found: int) -> None:
    network, size_hw, precision, batch = gpu.TARGET
    row = {"network": network, "size_hw": size_hw, "precision": precision, "batch": batch}
    ours = gpu_contenders.figures(0.3, [1.0, 2.0], 1500.0)
    result = {"card": card, "rows": [row | {"contenders": {"tensorrt": ours}}]}
    rows = gpu.comparisons(result)
    assert len(rows) == found
    if found:
        assert [row["met"] for row in rows] == [True, True]
        assert rows[1]["value"] == 3333


def test_the_share_of_the_peak(monkeypatch: pytest.MonkeyPatch, tiny_model: ModelFile) -> None:
    monkeypatch.setattr(gpu.contenders, "tensorrt", lambda *_: gpu_contenders.figures(0.5, [1.0], 900.0))
    case = gpu.Case(tiny_model, None, multiply_adds=10**9)
    found = gpu.row(case, batch=4, seconds=0.01, device_id=0, peak=1e14)["contenders"]
    assert found["tensorrt"]["share_of_peak"] == 0.08  # 4e9 in 0.5 ms are 8e12 a second
    assert "missing" in found["onnxruntime cuda"]


def test_a_rate_counts_the_images_of_a_batch() -> None:
    calls: list[int] = []
    rate = gpu_contenders.images_per_s(lambda: calls.append(int(np.ones(100_000).sum())), batch=4, seconds=0.05)
    assert rate > 4 * 10
    assert len(calls) > 2 * gpu_contenders.MIN_RUNS - 1


def test_a_size_is_read() -> None:
    assert gpu.size("544x960") == (544, 960)
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=gpu.size)
    with pytest.raises(SystemExit):
        parser.parse_args(["--size", "544"])
