"""Fixtures of the conversion tests: painted splits of the tiny model's classes, and the shipped models."""

from __future__ import annotations

from pathlib import Path

import cv2
import onnx
import pytest
from lwseg_training.conversion.half import in_half
from support.tiny_model import CLASSES, painted_image

from lwseg_ros.datasets import Split
from lwseg_ros.model.model_file import ModelFile, load_model, shipped_models


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Split, Split]:
    """A training and a validation split of painted rectangles, six images each, 48 x 64."""
    return tuple(_write(tmp_path_factory.mktemp(name), name, seed) for name, seed in (("train", 0), ("val", 100)))  # type: ignore[return-value]


def _write(folder: Path, name: str, seed: int) -> Split:
    pairs = []
    for index in range(6):
        image, label = painted_image((48, 64), seed + index)
        pair = folder / f"{index}.png", folder / f"{index}_label.png"
        assert cv2.imwrite(str(pair[0]), image)
        assert cv2.imwrite(str(pair[1]), label)
        pairs.append(pair)
    return Split("painted colours", name, CLASSES, 255, tuple(pairs))


@pytest.fixture(scope="session", params=shipped_models().items(), ids=shipped_models().keys())
def shipped(request: pytest.FixtureRequest) -> ModelFile:
    """Each of the shipped model files."""
    return load_model(request.param[1])


@pytest.fixture(scope="session")
def shipped_half(shipped: ModelFile) -> onnx.ModelProto:
    """Its graph in half precision."""
    return in_half(onnx.load_model_from_string(shipped.data))
