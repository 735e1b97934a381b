"""Which runtime is chosen, and what is said about it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lwseg_ros.backends import BACKENDS, BackendOptions, Probe, load_runtime, open_backend
from lwseg_ros.backends.openvino import OpenVinoBackend
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.model.model_file import ModelFile


def test_a_named_backend_is_taken(tiny_model: ModelFile) -> None:
    choice = open_backend(tiny_model, "onnxruntime")
    assert choice.backend.name == "onnxruntime"
    assert choice.reason == "onnxruntime was asked for"
    assert choice.fallback_reason is None


def test_an_unknown_name(tiny_model: ModelFile) -> None:
    with pytest.raises(
        BackendError, match="'tflite' is unknown, expected one of auto, tensorrt, openvino, onnxruntime"
    ):
        open_backend(tiny_model, "tflite")


def test_auto_diagnoses_tensorrt_without_a_device(tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Probe(available=False, expected=True, detail="no CUDA driver or device is found")
    monkeypatch.setattr(load_runtime("tensorrt"), "probe", lambda options: found)
    choice = open_backend(tiny_model)
    assert choice.backend.name == "openvino"
    assert choice.reason == "openvino (on the CPU); not tensorrt: no CUDA driver or device is found"
    assert choice.fallback_reason == "tensorrt: no CUDA driver or device is found"


def test_auto_says_nothing_of_a_gpu_that_nobody_expects(tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Probe(available=False, expected=False, detail="no CUDA driver or device is found")
    monkeypatch.setattr(load_runtime("tensorrt"), "probe", lambda options: found)
    choice = open_backend(tiny_model)
    assert choice.fallback_reason is None
    assert "not tensorrt" in choice.reason


def test_auto_goes_on_when_one_fails(tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: ModelFile, options: BackendOptions) -> Any:
        raise BackendError("out of memory")

    for name in ("tensorrt", "openvino"):
        runtime = load_runtime(name)
        monkeypatch.setattr(runtime, "probe", lambda options: Probe(available=True, expected=True, detail="there"))
        monkeypatch.setattr(runtime, "open", fail)
    choice = open_backend(tiny_model)
    assert choice.backend.name == "onnxruntime"
    assert choice.fallback_reason == "tensorrt: out of memory; openvino: out of memory"
    monkeypatch.setattr(load_runtime("onnxruntime"), "open", fail)
    with pytest.raises(BackendError, match=r"no backend could be opened: .*onnxruntime: out of memory"):
        open_backend(tiny_model)


def test_auto_passes_over_a_runtime_that_opens_and_cannot_run(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU does whose driver is too old for the engine."""

    def fail(self: OpenVinoBackend, images: np.ndarray) -> Any:
        closed.append(False)
        raise BackendError("no kernel image is available")

    closed: list[bool] = []
    monkeypatch.setattr(OpenVinoBackend, "infer", fail)
    monkeypatch.setattr(OpenVinoBackend, "close", lambda self: closed.append(True))
    choice = open_backend(tiny_model)
    assert choice.backend.name == "onnxruntime"
    assert "openvino: no kernel image is available" in str(choice.fallback_reason)
    assert closed == [False, True]
    with pytest.raises(BackendError, match="no kernel image is available"):
        open_backend(tiny_model, "openvino")


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("no driver"),
        AttributeError("no attribute '__version__'"),
        OSError("no libcuda"),
        ImportError("half"),
    ],
)
@pytest.mark.parametrize("where", ["probe", "open"])
def test_auto_passes_over_whatever_a_library_raises(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, failure: Exception, where: str
) -> None:
    def fail(*arguments: Any) -> Any:
        raise failure

    tensorrt = load_runtime("tensorrt")
    monkeypatch.setattr(tensorrt, "probe", lambda options: Probe(available=True, expected=True, detail="there"))
    monkeypatch.setattr(tensorrt, where, fail)
    choice = open_backend(tiny_model)
    assert choice.backend.name == "openvino"
    assert f"{type(failure).__name__}: {failure}" in str(choice.fallback_reason)
    if where == "open":
        with pytest.raises(BackendError, match=f"tensorrt cannot be used: {type(failure).__name__}: {failure}"):
            open_backend(tiny_model, "tensorrt")


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx", "openvino", "cuda"])
def test_auto_passes_over_an_empty_folder_of_a_library_s_name(tiny_model: ModelFile, tmp_path: Path, name: str) -> None:
    """As an uninstallation leaves one. In a process of its own, as libraries are imported once."""
    (tmp_path / name).mkdir()
    code = (
        "from lwseg_ros.backends import open_backend\nfrom lwseg_ros.model.model_file import load_model\n"
        f"print(open_backend(load_model({str(tiny_model.path)!r})).backend.name)"
    )
    # Ahead of the installed ones, which a folder without __init__.py does not hide: take them out of sight.
    hide = f"import sys; sys.path[:] = [{str(tmp_path)!r}] + sys.path; "
    hide += f"import types; fake = types.ModuleType({name!r}); fake.__path__ = [{str(tmp_path / name)!r}]; "
    hide += f"import importlib.machinery as m; fake.__spec__ = m.ModuleSpec({name!r}, None, is_package=True); "
    hide += f"sys.modules[{name!r}] = fake\n"
    done = subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ("onnxruntime" if name == "openvino" else "openvino")


def test_auto_tries_nothing_that_was_lost(tiny_model: ModelFile) -> None:
    choice = open_backend(tiny_model, lost={"tensorrt": "code 700", "openvino": "hangs"})
    assert choice.backend.name == "onnxruntime"
    assert choice.fallback_reason == "tensorrt: code 700; openvino: hangs"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda label, uncertainty: (label + 99, uncertainty), r"the model gave labels \[99"),
        (
            lambda label, uncertainty: (label.astype(np.int64), uncertainty),
            r"label as int64 \[1, 48, 64\], expected uint8",
        ),
        (lambda label, uncertainty: (label, uncertainty / 255), r"uncertainty as float64 \[1, 48, 64\]"),
        (
            lambda label, uncertainty: (label[0], uncertainty),
            r"label as uint8 \[48, 64\], expected uint8 \[1, 48, 64\]",
        ),
        (lambda label, uncertainty: (label, None), "uncertainty as NoneType"),
    ],
)
def test_a_blank_run_that_makes_no_sense_is_refused(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, spoil: Any, message: str
) -> None:
    infer = OpenVinoBackend.infer
    monkeypatch.setattr(OpenVinoBackend, "infer", lambda self, images: spoil(*infer(self, images)))
    with pytest.raises(BackendError, match=message):
        open_backend(tiny_model, "openvino")
    assert open_backend(tiny_model).backend.name == "onnxruntime"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_library_that_is_not_installed(tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailableError, match=rf"{name} is not installed; `pip install 'lwseg_ros\[cpu\]'`"):
        open_backend(tiny_model, name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_batch": 0}, "max_batch is 0, expected a whole number of at least 1"),
        ({"max_batch": 1.5}, r"max_batch is 1\.5"),
        ({"num_threads": -1}, "num_threads is -1"),
        ({"device_id": "0"}, "device_id is '0'"),
        ({"cpu_precision": "int4"}, "cpu_precision is 'int4', expected one of auto, bf16, fp32"),
    ],
)
def test_options_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        BackendOptions(**fields)


@pytest.mark.parametrize("name", BACKENDS)
def test_only_the_chosen_runtime_is_imported(tiny_model: ModelFile, name: str) -> None:
    # TensorRT's bindings may load what they like of their own; the CPU runtimes have no business with a GPU.
    unwanted = {"openvino", "onnxruntime", "torch"} | (set() if name == "tensorrt" else {"tensorrt_rtx", "cuda"})
    unwanted -= {name}
    code = (
        "import sys\n"
        "from lwseg_ros.errors import BackendUnavailableError\n"
        "from lwseg_ros.segmenter import Segmenter\n"
        "try:\n"
        f"    Segmenter.open({str(tiny_model.path)!r}, {name!r})\n"
        "except BackendUnavailableError: pass\n"
        f"print(sorted(set({sorted(unwanted)}) & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
