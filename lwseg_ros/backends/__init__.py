"""The runtimes that can run a model file, behind one small interface."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from lwseg_ros.backends.base import CPU_PRECISIONS, Backend, BackendOptions, OutputCheck, Probe, Runtime
from lwseg_ros.backends.finite import check_blank_run, check_weights
from lwseg_ros.errors import BackendError, LwsegError
from lwseg_ros.model.model_file import ModelFile, check_batch
from lwseg_ros.model.precisions import ModelPrecisions

__all__ = [
    "BACKENDS",
    "CPU_PRECISIONS",
    "Backend",
    "BackendChoice",
    "BackendOptions",
    "OutputCheck",
    "Probe",
    "load_runtime",
    "open_backend",
    "open_best",
]

# In the order in which `auto` tries them; the module is imported when its runtime is chosen.
BACKENDS: dict[str, str] = {
    "tensorrt": "lwseg_ros.backends.tensorrt",
    "openvino": "lwseg_ros.backends.openvino",
    "onnxruntime": "lwseg_ros.backends.onnxruntime",
}


@dataclass(frozen=True)
class BackendChoice:
    """An opened backend and why it is this one.

    reason: for logs, always there. fallback_reason: set when a better backend was to be expected on this machine
    (TensorRT or a CUDA device is there) or was tried and failed; a diagnosed state, not an error.
    """

    backend: Backend
    reason: str
    fallback_reason: str | None = None


def load_runtime(name: str) -> Runtime:
    """Import one runtime's module; raises BackendError, which lists the names, for another name."""
    if name not in BACKENDS:
        raise BackendError(f"backend {name!r} is unknown, expected one of auto, {', '.join(BACKENDS)}")
    return cast(Runtime, importlib.import_module(BACKENDS[name]))


def open_backend(
    model: ModelFile,
    name: str = "auto",
    options: BackendOptions | None = None,
    lost: Mapping[str, str] | None = None,
) -> BackendChoice:
    """Open a model file in the named runtime, or with "auto" in the best that works here; see `open_best`."""
    return open_best(ModelPrecisions(model), name, options, lost)[1]


def open_best(
    model: ModelPrecisions,
    name: str = "auto",
    options: BackendOptions | None = None,
    lost: Mapping[str, str] | None = None,
) -> tuple[ModelFile, BackendChoice]:
    """Open a model in the named runtime, or with "auto" in the best that works here, in the precision that it runs best.

    Returns the file that was opened, too. `auto` takes TensorRT where a CUDA device and a TensorRT library are, else
    OpenVINO, else ONNX Runtime; none of `lost`, runtimes that failed in use with the reason. Raises BackendUnavailableError
    when the named runtime or its device is not there, BackendError when it fails, whatever the library itself raises, and
    ModelFileError when weights or logits are not finite, or when a batch takes more room than its images one by one. What is
    opened has run already, on blank images.
    """
    options = options or BackendOptions()
    _check(model.model, options)
    if name != "auto":
        file, backend, failures = _opened_best(name, model, options)
        explained = [*model.refused, *failures]
        return file, BackendChoice(
            backend, f"{name} was asked for{_in_place_of(model, file)}", "; ".join(explained) or None
        )
    passed_over = [f"{candidate}: {reason}" for candidate, reason in (lost or {}).items()]
    explained = [*model.refused, *passed_over]
    for candidate in BACKENDS:
        if lost and candidate in lost:
            continue
        probe = _probe(candidate, options)
        if not probe.available:
            passed_over.append(f"{candidate}: {probe.detail}")
            if probe.expected:
                explained.append(f"{candidate}: {probe.detail}")
            continue
        try:
            file, backend, failures = _opened_best(candidate, model, options)
        except BackendError as error:
            passed_over.append(f"{candidate}: {error}")
            explained.append(f"{candidate}: {error}")
            continue
        instead = f"; not {'; not '.join(passed_over)}" if passed_over else ""
        explained += failures
        reason = f"{candidate} ({probe.detail}){_in_place_of(model, file)}{instead}"
        return file, BackendChoice(backend, reason, "; ".join(explained) or None)
    raise BackendError("no backend could be opened: " + "; ".join(passed_over))


def _probe(name: str, options: BackendOptions) -> Probe:
    """Look for library and device; a library that is there and broken is one to explain."""
    try:
        return load_runtime(name).probe(options)
    except Exception as error:  # a library may raise anything: an empty folder of its name has no attributes
        return Probe(available=False, expected=True, detail=_described(error))


def _opened_best(name: str, model: ModelPrecisions, options: BackendOptions) -> tuple[ModelFile, Backend, list[str]]:
    """Open a model in the precision that a runtime runs best; a conversion that fails is passed over, and returned is why."""
    failures: list[str] = []
    # Without a choice the runtime is not asked, whose library may be missing or broken.
    for file in model.best_first(load_runtime(name).preferred_precisions(options) if model.others else ()):
        try:
            if file is not model.model:
                _check(file, options)
            return file, _opened_and_run(name, file, options), failures
        except LwsegError as error:
            if file is model.model:
                raise
            failures.append(f"{name}: {error}")
    raise AssertionError("the model itself is tried last")


def _check(model: ModelFile, options: BackendOptions) -> None:
    check_weights(model)
    if options.max_batch > 1:  # one image was looked at when the file was read
        check_batch(model, options.max_batch)


def _in_place_of(model: ModelPrecisions, file: ModelFile) -> str:
    return "" if file is model.model else f", {file.path.name} in the place of {model.model.path.name}"


def _opened_and_run(name: str, model: ModelFile, options: BackendOptions) -> Backend:
    """Open a model and run it on blank images, so that no frame waits for what runtimes put off until then, and a runtime
    that opens but cannot run, or whose outputs make no sense, is passed over.
    """
    check_outputs = OutputCheck(model.manifest)
    try:
        backend = load_runtime(name).open(model, options)
        try:
            for number in sorted({1, options.max_batch}):
                images = np.zeros((number, *model.manifest.input_size_hw, 3), np.uint8)
                label, uncertainty = backend.infer(images)
                check_outputs(label, uncertainty, images)
                check_blank_run(model, label, uncertainty)
        except BaseException:
            backend.close()
            raise
    except LwsegError:
        raise
    except Exception as error:
        raise BackendError(f"{name} cannot be used: {_described(error)}") from error
    return backend


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
