"""Fixtures for all tests. Helpers are imported from `support`: `from support.tiny_model import write_tiny_model`."""

from __future__ import annotations

import pytest
from support.tiny_model import write_tiny_model

from lwseg_ros.model.model_file import ModelFile


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A small real model file, 48 x 64; `tiny_model.path` is where it lies."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx")
