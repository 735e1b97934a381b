"""The runtimes that can run a model file, behind one small interface."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from lwseg_ros.backends.base import (
    CPU_PRECISIONS,
    Backend,
    BackendOptions,
    OutputCheck,
    Probe,
    Runtime,
    Slot,
    SlottedBackend,
)
from lwseg_ros.backends.finite import check_blank_run, check_weights
from lwseg_ros.backends.self_check import self_check
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
    "Slot",
    "SlottedBackend",
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
    opened has run already, on blank images, and one on a device has been held against one on the CPU (see self_check.py).
    """
    options = options or BackendOptions()
    _check(model.model, options)
    if name != "auto":
        opened = _opened_best(name, model, options)
        explained = [*model.refused, *opened.passed_over]
        return opened.file, BackendChoice(
            opened.backend, opened.reason(f"{name} was asked for", model), "; ".join(explained) or None
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
            opened = _opened_best(candidate, model, options)
        except BackendError as error:
            passed_over.append(f"{candidate}: {error}")
            explained.append(f"{candidate}: {error}")
            continue
        explained += opened.passed_over
        reason = opened.reason(f"{candidate} ({probe.detail})", model, passed_over)
        return opened.file, BackendChoice(opened.backend, reason, "; ".join(explained) or None)
    raise BackendError("no backend could be opened: " + "; ".join(passed_over))


def _probe(name: str, options: BackendOptions) -> Probe:
    """Look for library and device; a library that is there and broken is one to explain."""
    try:
        return load_runtime(name).probe(options)
    except Exception as error:  # a library may raise anything: an empty folder of its name has no attributes
        return Probe(available=False, expected=True, detail=_described(error))


@dataclass(frozen=True)
class _Opened:
    """A model file that runs; found: by the self-check. passed_over: conversions that were tried before, each with why not."""

    file: ModelFile
    backend: Backend
    found: str
    passed_over: list[str]

    def reason(self, runtime: str, model: ModelPrecisions, instead_of: Iterable[str] = ()) -> str:
        """Say why this runtime and this file: not those that it stands in for."""
        converted = (
            "" if self.file is model.model else f", {self.file.path.name} in the place of {model.model.path.name}"
        )
        return "; ".join([runtime + converted, *(f"not {other}" for other in instead_of), *filter(None, [self.found])])


def _opened_best(name: str, model: ModelPrecisions, options: BackendOptions) -> _Opened:
    """Open a model in the precision that a runtime runs best; a conversion that fails is passed over."""
    passed_over: list[str] = []
    # Without a choice the runtime is not asked, whose library may be missing or broken.
    for file in model.best_first(load_runtime(name).preferred_precisions(options) if model.others else ()):
        try:
            if file is not model.model:
                _check(file, options)
            return _Opened(file, *_opened_and_checked(name, file, options), passed_over)
        except LwsegError as error:
            if file is model.model:
                raise
            passed_over.append(f"{name}: {error}")
    raise AssertionError("the model itself is tried last")


def _check(model: ModelFile, options: BackendOptions) -> None:
    check_weights(model)
    if options.max_batch > 1:  # one image was looked at when the file was read
        check_batch(model, options.max_batch)


def _opened_and_checked(name: str, model: ModelFile, options: BackendOptions) -> tuple[Backend, str]:
    """Open a model and run it on blank images, so that no frame waits for what runtimes put off until then, and a runtime
    that opens but cannot run, or whose outputs make no sense, is passed over. Return it with what its self-check found.
    """
    check_outputs = OutputCheck(model.manifest)
    try:
        backend = load_runtime(name).open(model, options)
        try:
            for number in sorted({1, options.max_batch}):
                images = np.zeros((number, *model.manifest.input_size_hw, 3), np.uint8)
                label, uncertainty = backend.infer(images)
                check_outputs(label, uncertainty, images.shape[:3])
                check_blank_run(model, label, uncertainty)
            found = self_check(model, backend, options)
        except BaseException:
            backend.close()
            raise
    except LwsegError:
        raise
    except Exception as error:
        raise BackendError(f"{name} cannot be used: {_described(error)}") from error
    return backend, found


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
