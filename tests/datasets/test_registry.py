"""What all data sets have in common: the table of them, the check of a model's classes, generated colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets import (
    DATASETS,
    Split,
    ade20k,
    cityscapes,
    coco_stuff10k,
    load_split,
    mapillary,
    pascal_context,
)
from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.errors import DatasetError


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"unknown data set 'kitty'; known are: {', '.join(sorted(DATASETS))}$"):
        load_split("kitty", tmp_path, "val")


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_folder_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no (folder|file) .*nowhere.*; expected"):
        load_split(name, tmp_path / "nowhere", "val")


@pytest.mark.parametrize(
    ("classes", "count"),
    [
        (CAMVID_CLASSES, 11),
        (cityscapes.CLASSES, 19),
        (mapillary.CLASSES, 65),
        (ade20k.CLASSES, 150),
        (pascal_context.CLASSES, 60),
        (coco_stuff10k.CLASSES, 171),
    ],
)
def test_classes_are_numbered_and_named_apart(classes: tuple[ClassInfo, ...], count: int) -> None:
    assert [info.id for info in classes] == list(range(count))
    assert len({info.name for info in classes}) == count
    assert all(info.name == info.name.strip() != "" for info in classes)
    assert all(len(info.color_rgb) == 3 and all(0 <= level <= 255 for level in info.color_rgb) for info in classes)


def test_class_names_are_compared() -> None:
    split = Split("camvid", "val", CAMVID_CLASSES, 11, ())
    split.check_classes(CAMVID_CLASSES)
    with pytest.raises(DatasetError, match="the model has 10 classes, camvid has 11: sky, building"):
        split.check_classes(CAMVID_CLASSES[:-1])
    renamed = (*CAMVID_CLASSES[:-1], ClassInfo(10, "train", (0, 0, 0)))
    with pytest.raises(DatasetError, match="class 10 is 'train' in the model and 'bicyclist' in camvid"):
        split.check_classes(renamed)


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match=r"'camvid' of .*test_registry is in lwseg_ros\.datasets\.camvid already"):
        register_dataset("camvid")(lambda root, split: Split("camvid", split, CAMVID_CLASSES, None, ()))
