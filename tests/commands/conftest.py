"""Fixtures for the commands' tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from support import tiny_model as tiny

from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID
from lwseg_ros.model.model_file import save_model


@pytest.fixture
def tiny_camvid_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model file, 48 x 64, that names CamVid's colours."""
    monkeypatch.setattr(tiny, "CLASSES", CAMVID_CLASSES)
    model = tiny.write_tiny_model(tmp_path / "tiny_camvid.onnx")
    manifest = replace(model.manifest, dataset="camvid", ignore_id=CAMVID_IGNORE_ID)
    return save_model(onnx.load_from_string(model.data), manifest, model.path).path
