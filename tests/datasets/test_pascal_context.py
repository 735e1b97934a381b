"""PASCAL Context: background and 59 classes, in the order of a list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.pascal_context import CLASSES, PUBLISHED_IDS
from lwseg_ros.errors import DatasetError


@pytest.fixture
def write_list(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a split's list of names."""

    def write(split: str, text: str) -> None:
        folder = tmp_path / "ImageSets" / "SegmentationContext"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.txt").write_text(text)

    return write


def test_the_list_decides_order_and_content(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    write_list: Callable[[str, str], None],
    ids: Callable[..., list[int]],
) -> None:
    for name in ("2008_000002", "2008_000003", "2010_000001"):
        write_image(f"JPEGImages/{name}.jpg")
        write_label(f"SegmentationClassContext/{name}.png", 0, 1, 59, 255)
    write_image("JPEGImages/2007_000001.jpg")  # of VOC, but not of Context
    write_list("train", "2010_000001\n2008_000002\n")
    split = load("pascal_context", "train")
    assert [image.stem for image, _ in split.pairs] == ["2010_000001", "2008_000002"]
    assert ids(split, 0) == [0, 1, 59, 255]
    assert split.ignore_id == 255


def test_it_is_read_as_downloaded(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], ids: Callable[..., list[int]]
) -> None:
    write_image("JPEGImages/a.jpg")
    (tmp_path / "trainval").mkdir()
    savemat(tmp_path / "trainval" / "a.mat", {"LabelMap": np.array([[2, 1, 459, 397], [2, 1, 459, 397]], np.uint16)})
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    split = load("pascal_context", "val")
    assert [split.classes[class_id].name for class_id in ids(split, 0)] == [
        "aeroplane",
        "background",
        "background",
        "table",
    ]


def test_the_published_numbers_are_59_in_order() -> None:
    assert len(set(PUBLISHED_IDS)) == 59
    assert list(PUBLISHED_IDS) == sorted(PUBLISHED_IDS)


def test_ids_of_all_459_classes_are_refused(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    write_list: Callable[[str, str], None],
    ids: Callable[..., list[int]],
) -> None:
    write_image("JPEGImages/a.jpg")
    write_label("SegmentationClassContext/a.png", 207, 2)
    write_list("val", "a\n")
    with pytest.raises(DatasetError, match=r"a\.png holds the values \[207\]; accepted are 0 to 59, 255"):
        ids(load("pascal_context", "val"), 0)


def test_classes_are_alphabetical_after_background() -> None:
    names = [info.name for info in CLASSES]
    assert names[:4] == ["background", "aeroplane", "bag", "bed"]
    assert (names[37], names[59]) == ("person", "wood")
    assert names[1:] == sorted(names[1:])


def test_half_unpacked_trees_are_named(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    write_list: Callable[[str, str], None],
) -> None:
    with pytest.raises(DatasetError, match=r"no split 'train': no folder .*JPEGImages; expected\n  DIR/JPEGImages"):
        load("pascal_context", "train")
    write_image("JPEGImages/a.jpg")
    with pytest.raises(DatasetError, match=r"no folder .*SegmentationClassContext; expected"):
        load("pascal_context", "train")
    write_label("SegmentationClassContext/b.png", 0)
    with pytest.raises(DatasetError, match=r"cannot read the list .*SegmentationContext/train\.txt: .*; expected"):
        load("pascal_context", "train")
    write_list("train", "a\n")
    with pytest.raises(DatasetError, match=r"SegmentationClassContext/a\.png is missing; expected"):
        load("pascal_context", "train")
    write_list("train", "b\n")
    with pytest.raises(DatasetError, match=r"JPEGImages/b\.jpg is missing; expected"):
        load("pascal_context", "train")
    write_list("train", "\n")
    with pytest.raises(DatasetError, match=r"the list .*train\.txt is empty; expected"):
        load("pascal_context", "train")
