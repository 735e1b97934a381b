"""OpenVINO with the faults of `faulty_backend` while it is opened."""

from __future__ import annotations

from faulty_backend import fail_to_open

from lwseg_ros.backends import openvino
from lwseg_ros.backends.base import Backend, BackendOptions
from lwseg_ros.model.model_file import ModelFile

probe = openvino.probe


def open(model: ModelFile, options: BackendOptions) -> Backend:
    fail_to_open()
    return openvino.open(model, options)
