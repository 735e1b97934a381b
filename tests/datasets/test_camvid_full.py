"""CamVid as published: 32 colours, grouped into 11 classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.datasets.camvid_full import COLORS, published_split
from lwseg_ros.errors import DatasetError

ROAD, LANE, SUV, VOID = (128, 64, 128), (128, 0, 192), (64, 128, 192), (0, 0, 0)


def test_the_published_archives_are_split_as_in_the_papers(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    for name in ("0006R0_f00960", "0001TP_006690", "0016E5_07961", "0016E5_07959", "Seq05VD_f00000", "0001TP_008550"):
        write_image(f"701_StillsRaw_full/{name}.png")
        write_label(f"LabeledApproved_full/{name}_L.png", ROAD, LANE, SUV, VOID)
    train, val, test = (load("camvid_full", split) for split in ("train", "val", "test"))
    assert [image.stem for image, _ in train.pairs] == ["0001TP_006690", "0006R0_f00960"]
    assert [image.stem for image, _ in val.pairs] == ["0016E5_07959", "0016E5_07961"]
    assert [image.stem for image, _ in test.pairs] == ["0001TP_008550", "Seq05VD_f00000"]
    assert ids(train, 0) == [3, 3, 8, 11]
    assert (train.classes, train.ignore_id) == (CAMVID_CLASSES, 11)
    with pytest.raises(DatasetError, match="holds no split 'night'; splits are train, val, test; expected"):
        load("camvid_full", "night")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("0001TP_008520", "train"),
        ("0001TP_010380", "test"),
        ("0006R0_f03930", "train"),
        ("0016E5_07957", "train"),
        ("0016E5_07980", "train"),
        ("0016E5_08159", "val"),
        ("0016E5_08161", "train"),
        ("Seq05VD_f05100", "test"),
    ],
)
def test_recordings_are_cut_where_the_papers_cut_them(name: str, split: str) -> None:
    assert published_split(name) == split


def test_images_that_are_already_split(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    for name in ("0016E5_08190", "0001TP_006690"):
        write_image(f"val/{name}.png")
        write_label(f"val_labels/{name}_L.png", (128, 128, 128), (0, 128, 192))
    split = load("camvid_full", "val")
    assert [image.stem for image, _ in split.pairs] == ["0001TP_006690", "0016E5_08190"]
    assert ids(split, 1) == [0, 0, 10, 10]


def test_32_colors_make_11_classes_and_void() -> None:
    assert len(COLORS) == len({color for color, _ in COLORS.values()}) == 32
    assert {name for _, name in COLORS.values()} == {info.name for info in CAMVID_CLASSES} | {None}
    assert Counter(name for _, name in COLORS.values())["car"] == 5
    assert COLORS["TrafficLight"] == ((0, 64, 64), "sign_symbol")
    assert [name for name, (_, counted_as) in COLORS.items() if counted_as is None] == ["Void"]


def test_half_unpacked_archives_are_named(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], write_label: Callable[..., None]
) -> None:
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*701_StillsRaw_full; expected\n  DIR/701_"):
        load("camvid_full", "val")
    write_image("701_StillsRaw_full/0016E5_07959.png")
    with pytest.raises(DatasetError, match=r"no folder .*LabeledApproved_full; expected"):
        load("camvid_full", "val")
    write_label("LabeledApproved_full/0016E5_07961_L.png", VOID)
    with pytest.raises(DatasetError, match=r"LabeledApproved_full/0016E5_07959_L\.png is missing; expected"):
        load("camvid_full", "val")
    write_label("LabeledApproved_full/0016E5_07959_L.png", VOID)
    with pytest.raises(DatasetError, match=r"701_StillsRaw_full/0016E5_07961\.png is missing; expected"):
        load("camvid_full", "val")
    (tmp_path / "val_labels").mkdir()
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*/val; expected"):
        load("camvid_full", "val")
