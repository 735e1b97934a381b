"""ADE20K of the scene parsing benchmark: 150 classes, stored from 1 on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.ade20k import CLASSES
from lwseg_ros.errors import DatasetError


def test_ids_are_stored_one_higher_and_0_is_ignored(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    for name in ("ADE_val_00000002", "ADE_val_00000001"):
        write_image(f"images/validation/{name}.jpg")
        write_label(f"annotations/validation/{name}.png", 0, 1, 13, 150)
    split = load("ade20k", "validation")
    assert [image.stem for image, _ in split.pairs] == ["ADE_val_00000001", "ADE_val_00000002"]
    assert ids(split, 1) == [255, 0, 12, 149]
    assert split.ignore_id == 255


def test_a_value_above_150_is_refused(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    write_image("images/training/a.jpg")
    write_label("annotations/training/a.png", 151)
    with pytest.raises(DatasetError, match=r"a\.png holds the values \[151\]; accepted are 0 to 150"):
        ids(load("ade20k", "training"), 0)


def test_published_classes() -> None:
    assert (CLASSES[0].name, CLASSES[0].color_rgb) == ("wall", (120, 120, 120))
    assert (CLASSES[12].name, CLASSES[12].color_rgb) == ("person", (150, 5, 61))
    assert (CLASSES[44].name, CLASSES[80].name) == ("chest of drawers", "bus")
    assert (CLASSES[149].name, CLASSES[149].color_rgb) == ("flag", (92, 0, 255))


def test_half_unpacked_trees_are_named(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], write_label: Callable[..., None]
) -> None:
    with pytest.raises(DatasetError, match=r"no split 'train': no folder .*images/train; expected\n  DIR/images/train"):
        load("ade20k", "train")
    write_image("images/training/a.jpg")
    with pytest.raises(DatasetError, match=r"no folder .*annotations/training; expected"):
        load("ade20k", "training")
    write_label("annotations/training/b.png", 0)
    with pytest.raises(DatasetError, match=r"annotations/training/a\.png is missing; expected"):
        load("ade20k", "training")
    (tmp_path / "images" / "training" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"images/training/b\.jpg is missing; expected"):
        load("ade20k", "training")
