"""Frames as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.kept_frames import KeptFrame
from lwseg_ros.replay.report import pictures as module
from lwseg_ros.replay.report.pictures import ERROR_STEPS, IGNORED, RIGHT, WRONG, error_levels, pictures
from lwseg_ros.replay.rows import FrameRow


def kept(image: np.ndarray, label: np.ndarray, truth: np.ndarray | None = None, index: int = 0) -> KeptFrame:
    return KeptFrame(index, image, Prediction(label, None), truth, FrameRow(index, 0), "spread")


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_error_levels_by_hand() -> None:
    label, truth = np.array([[0, 1, 1, 1]], np.uint8), np.array([[0, 0, 0, 255]], np.uint8)
    uncertainty = np.array([[0, 0, 255, 0]], np.uint8)
    expected = [RIGHT, WRONG + ERROR_STEPS - 1, WRONG, IGNORED]
    assert error_levels(label, truth, uncertainty, 255)[0].tolist() == expected
    assert error_levels(label, truth, None, 255)[0].tolist() == [RIGHT, *[WRONG + ERROR_STEPS - 1] * 2, IGNORED]
    assert error_levels(label, truth, uncertainty, None)[0, 3] == WRONG + ERROR_STEPS - 1


def test_what_lies_on_an_image_has_its_colours_and_lets_the_rest_through(tiny_model: ModelFile) -> None:
    truth = np.array([[1, 255, 3, 3]], np.uint8)
    (drawn,) = pictures(
        [kept(np.zeros((1, 4, 3), np.uint8), np.array([[1, 2, 3, 4]], np.uint8), truth)], tiny_model.manifest
    )
    assert drawn.truth is not None
    assert drawn.errors is not None
    assert drawn.uncertainty is None
    true = np.array(opened(drawn.truth).convert("RGBA"))[0]
    assert true[0].tolist() == [20, 140, 30, 255]  # tree
    assert true[1, 3] == 0
    assert np.array(opened(drawn.errors).convert("RGBA"))[0, :, 3].tolist() == [0, 255, 0, 255]
    assert opened(drawn.image).size == (4, 1)
    assert pictures([kept(np.zeros((1, 4, 3), np.uint8), truth)], tiny_model.manifest)[0].truth is None


def test_many_pictures_are_made_smaller_and_in_the_end_left_out(
    tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 800, 3), dtype=np.uint8)
    frames = [kept(noise, np.zeros((200, 800), np.uint8), index=index) for index in range(4)]
    large = pictures(frames, tiny_model.manifest)
    assert [frame.size_hw for frame in large] == [(160, 640)] * 4
    monkeypatch.setattr(module, "MAX_BYTES", sum(frame.num_bytes for frame in large) - 1)
    small = pictures(frames, tiny_model.manifest)
    assert [frame.size_hw for frame in small] == [(120, 480)] * 4
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    few = pictures(frames, tiny_model.manifest)
    assert 0 < len(few) < 4
    assert few[0].size_hw == (50, 200)
    assert sum(frame.num_bytes for frame in few) <= 10_000
