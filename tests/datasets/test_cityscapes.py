"""Cityscapes: one folder a city, 19 of 34 labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.cityscapes import CLASSES, LABEL_IDS
from lwseg_ros.errors import DatasetError

NAMES = ("ulm/ulm_000001_000019", "aachen/aachen_000000_000019")


@pytest.fixture
def images(write_image: Callable[[str], None]) -> None:
    """Two images of the split `val`, one a city."""
    for name in NAMES:
        write_image(f"leftImg8bit/val/{name}_leftImg8bit.png")


@pytest.mark.usefixtures("images")
def test_labels_are_mapped_to_train_ids(
    load: Callable[..., Split], write_label: Callable[..., None], ids: Callable[..., list[int]]
) -> None:
    write_label(f"gtFine/val/{NAMES[0]}_gtFine_labelIds.png", 7, 33, 0, 18)
    write_label(f"gtFine/val/{NAMES[1]}_gtFine_labelIds.png", 26, 31, 29, 8)
    write_label(f"gtFine/val/{NAMES[1]}_gtFine_instanceIds.png", 0)
    split = load("cityscapes", "val")
    assert [image.parent.name for image, _ in split.pairs] == ["aachen", "ulm"]
    assert (ids(split, 0), ids(split, 1)) == ([13, 16, 255, 1], [0, 18, 255, 255])
    assert split.ignore_id == 255


@pytest.mark.usefixtures("images")
def test_label_ids_are_preferred_to_train_ids(
    load: Callable[..., Split], write_label: Callable[..., None], ids: Callable[..., list[int]]
) -> None:
    for name in NAMES:
        write_label(f"gtFine/val/{name}_gtFine_labelTrainIds.png", 0, 18, 255, 7)
    write_label(f"gtFine/val/{NAMES[1]}_gtFine_labelIds.png", 7, 33, 0, 20)
    split = load("cityscapes", "val")
    assert [str(label).rpartition("_")[2] for _, label in split.pairs] == ["labelIds.png", "labelTrainIds.png"]
    assert ids(split, 0) == ids(split, 1) == [0, 18, 255, 7]


@pytest.mark.usefixtures("images")
def test_values_that_no_label_has_are_refused(
    load: Callable[..., Split], write_label: Callable[..., None], ids: Callable[..., list[int]]
) -> None:
    write_label(f"gtFine/val/{NAMES[0]}_gtFine_labelTrainIds.png", 19, 0)
    write_label(f"gtFine/val/{NAMES[1]}_gtFine_labelIds.png", 34, 255)
    split = load("cityscapes", "val")
    with pytest.raises(DatasetError, match=r"holds the values \[34, 255\]; accepted are 0 to 33; correct"):
        ids(split, 0)
    with pytest.raises(DatasetError, match=r"holds the values \[19\]; accepted are 0 to 18, 255; correct"):
        ids(split, 1)


def test_published_classes() -> None:
    assert (CLASSES[0].name, CLASSES[0].color_rgb) == ("road", (128, 64, 128))
    assert (CLASSES[6].name, CLASSES[6].color_rgb) == ("traffic light", (250, 170, 30))
    assert (CLASSES[18].name, CLASSES[18].color_rgb) == ("bicycle", (119, 11, 32))
    assert sorted(LABEL_IDS.ids) == list(range(34))
    assert list(LABEL_IDS.ids.values()).count(255) == 15


def test_half_unpacked_trees_are_named(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], write_label: Callable[..., None]
) -> None:
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*leftImg8bit/val; expected\n  DIR/leftImg8bit"):
        load("cityscapes", "val")
    (tmp_path / "leftImg8bit" / "val").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*gtFine/val; expected"):
        load("cityscapes", "val")
    (tmp_path / "gtFine" / "val").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"leftImg8bit/val holds no \*/\*_leftImg8bit\.png; expected"):
        load("cityscapes", "val")
    for name in NAMES:
        write_image(f"leftImg8bit/val/{name}_leftImg8bit.png")
    with pytest.raises(
        DatasetError, match=r"aachen_000000_000019_gtFine_labelIds\.png is missing and so are 1 more; expected"
    ):
        load("cityscapes", "val")
    for name in (*NAMES, "bonn/bonn_000000_000019"):
        write_label(f"gtFine/val/{name}_gtFine_labelIds.png", 0)
    with pytest.raises(DatasetError, match=r"bonn/bonn_000000_000019_leftImg8bit\.png is missing; expected"):
        load("cityscapes", "val")
