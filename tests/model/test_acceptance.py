"""Accepted pixels: which ones are, and what a manifest may say of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_model import ACCEPTANCE, tiny_manifest, write_tiny_model

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.acceptance import Acceptance
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.model.model_file import load_model

THRESHOLDS = {0: 254, 1: 20, 2: 0, 4: 60}


def test_every_label_with_every_uncertainty() -> None:
    acceptance = tiny_manifest(acceptance=ACCEPTANCE).accepted_pixels()
    assert acceptance is not None
    assert acceptance.thresholds == THRESHOLDS
    label, uncertainty = (grid.astype(np.uint8) for grid in np.mgrid[:256, :256])
    found = acceptance.accepted(label, uncertainty)
    assert (found.dtype, found.shape) == (np.uint8, (256, 256))
    expected = np.array([[255 * (u <= THRESHOLDS.get(i, -1)) for u in range(256)] for i in range(256)])
    np.testing.assert_array_equal(found, expected)


def test_views_are_looked_up_too() -> None:
    acceptance = Acceptance(0.1, 0.9, THRESHOLDS, {})
    rng = np.random.default_rng(0)
    label, uncertainty = rng.integers(0, 6, (9, 8), np.uint8), rng.integers(0, 256, (9, 8), np.uint8)
    whole = acceptance.accepted(label, uncertainty)
    assert 0 < np.count_nonzero(whole) < whole.size
    np.testing.assert_array_equal(acceptance.accepted(label[::4], uncertainty[::4]), whole[::4])


def test_a_model_file_keeps_it(tmp_path: Path) -> None:
    manifest = load_model(write_tiny_model(tmp_path / "tiny.onnx", acceptance=ACCEPTANCE).path).manifest
    assert manifest.acceptance == ACCEPTANCE
    acceptance = manifest.accepted_pixels()
    assert acceptance is not None
    assert (acceptance.level, acceptance.confidence) == (0.1, 0.9)
    assert acceptance.normal["accepted_share"] == (0.4, None)
    assert acceptance.to_manifest(5) == ACCEPTANCE


def test_a_model_that_vouches_for_nothing() -> None:
    manifest = tiny_manifest()
    assert manifest.accepted_pixels() is None
    assert "acceptance" not in json.loads(manifest.to_json()), "older versions read the file"
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 0}, "'level' is 0, expected a number between 0 and 1"),
        ({"level": True}, "'level' is True"),
        ({"confidence": 1}, "'confidence' is 1, expected a number between 0 and 1"),
        ({"confidence": "0.9"}, "'confidence' is '0.9'"),
        ({"level": 10**400}, "'level' is 1000"),
        ({"thresholds": [1, 2, 3, 4]}, "expected one entry for each id up to 4"),
        ({"thresholds": [1, 2, 3, 4, 255]}, r"0\.\.254 or null"),
        ({"thresholds": [1, 2, 3, 4, 2.0]}, r"0\.\.254 or null"),
        ({"thresholds": "12345"}, "'thresholds' is '12345'"),
        ({"normal": []}, r"'normal' is \[\], expected names with"),
        ({"normal": {"brightness": [1]}}, r"'brightness': \[1\]"),
        ({"normal": {"brightness": [1, "2"]}}, "numbers in this order or null; export it again"),
        ({"normal": {"brightness": [2, 1]}}, "numbers in this order or null"),
        ({"normal": {"brightness": [float("nan"), None]}}, "numbers in this order or null"),
        ({"thresholds": [0] * 100_000}, r"^.{,300}$"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        tiny_manifest(acceptance={**ACCEPTANCE, **changes})
    assert "manifest field 'acceptance'" in str(caught.value)


def test_a_threshold_of_what_is_no_class_is_refused() -> None:
    manifest = tiny_manifest()
    gap = tuple(replace(info, id=info.id + (info.id == 4)) for info in manifest.classes)  # ids 0 to 3 and 5
    allowed = replace(manifest, classes=gap, acceptance={**ACCEPTANCE, "thresholds": [1, 2, 3, 4, None, 5]})
    assert allowed.accepted_pixels() is not None
    with pytest.raises(ModelFileError, match="null where that is no class"):
        replace(manifest, classes=gap, acceptance={**ACCEPTANCE, "thresholds": [1, 2, 3, 4, 0, 5]})


def test_what_it_does_not_know_is_left_alone() -> None:
    assert tiny_manifest(acceptance={**ACCEPTANCE, "blocks": {"0001TP": 20}}).accepted_pixels() is not None
