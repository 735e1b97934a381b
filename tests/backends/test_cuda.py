"""What is said where CUDA cannot be used. With a device the contract suite runs all of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lwseg_ros.backends import BackendOptions, cuda, load_runtime
from lwseg_ros.errors import BackendError, BackendLostError, BackendUnavailableError


def test_bindings_that_raise_where_there_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuda-python 12.8 does; later versions return an error code, which another test sees."""

    def count() -> tuple[Any, int]:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(cuda, "bindings", lambda: SimpleNamespace(cudaGetDeviceCount=count))
    with pytest.raises(BackendUnavailableError, match=r"no CUDA driver is found \(Failed to dlopen libcuda\.so\.1\)"):
        cuda.find_device()
    probe = load_runtime("tensorrt").probe(BackendOptions())
    assert not probe.available
    assert "Failed to dlopen" in probe.detail


@pytest.mark.parametrize(
    ("gpu", "said"),
    [(False, "no NVIDIA GPU is found"), (True, "cuda-python is not installed; `pip install cuda-python`")],
)
def test_bindings_are_missed_only_where_a_gpu_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: bool, said: str
) -> None:
    def not_installed(name: str) -> None:
        raise ModuleNotFoundError(name)

    if gpu:
        (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(cuda, "DEVICE_NODES", (tmp_path / "nvidiactl",))
    monkeypatch.setattr(cuda.importlib, "import_module", not_installed)
    with pytest.raises(BackendUnavailableError, match=f"{said}$"):
        cuda.bindings()


@pytest.mark.parametrize("gpu", [True, False])
def test_a_gpu_whose_driver_is_too_old_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: bool
) -> None:
    if gpu:
        (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(cuda, "DEVICE_NODES", (tmp_path / "nvidiactl",))
    monkeypatch.setattr(cuda, "bindings", lambda: SimpleNamespace(cudaGetDeviceCount=lambda: (35, 0)))
    with pytest.raises(BackendUnavailableError, match="no CUDA driver or device is found") as refused:
        cuda.find_device()
    assert ("older than cuda-python" in str(refused.value)) == gpu


@pytest.mark.parametrize("code", [214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911])
def test_errors_that_only_a_new_process_gets_rid_of(code: int) -> None:
    with pytest.raises(BackendLostError, match=rf"code {code}; only a new process can use the device again"):
        cuda.check((code,))


@pytest.mark.parametrize("code", [2, 46, 209, 701, 720, 999])
def test_other_errors_are_failures(code: int) -> None:
    with pytest.raises(BackendError, match=rf"CUDA failed: {code}, code {code}") as failure:
        cuda.check((code,))
    assert not isinstance(failure.value, BackendLostError)
    assert cuda.check((0, "value")) == "value"
