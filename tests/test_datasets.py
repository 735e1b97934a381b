"""Listing and reading of labelled picture folders."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lwseg_ros.datasets import CAMVID_CLASSES, Split, load_split, read_pair
from lwseg_ros.errors import DatasetError
from lwseg_ros.model import ClassInfo


def write_pair(
    root: Path, name: str, size_hw: tuple[int, int] = (6, 8), label_hw: tuple[int, int] | None = None
) -> None:
    for folder in ("val", "valannot"):
        (root / folder).mkdir(exist_ok=True)
    assert cv2.imwrite(str(root / "val" / name), np.full((*size_hw, 3), 90, np.uint8))
    assert cv2.imwrite(str(root / "valannot" / name), np.full(label_hw or size_hw, 3, np.uint8))


def test_folders_are_listed_in_name_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        write_pair(tmp_path, name)
    split = load_split("camvid", tmp_path, "val")
    assert [(image.name, label.parent.name) for image, label in split.pairs] == [
        ("a.png", "valannot"),
        ("b.png", "valannot"),
    ]
    assert split.ignore_id == 11
    assert [c.id for c in split.classes] == list(range(11))
    image, label = read_pair(*split.pairs[0])
    assert image.shape == (6, 8, 3)
    assert np.array_equal(label, np.full((6, 8), 3))


def test_listing_decides_order_and_content(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_pair(tmp_path, name)
    (tmp_path / "val.txt").write_text("val/c.png valannot/c.png\n\nval/a.png valannot/a.png\n")
    split = load_split("camvid", str(tmp_path), "val")
    assert [image.name for image, _ in split.pairs] == ["c.png", "a.png"]


def test_class_names_are_compared() -> None:
    split = Split("camvid", "val", CAMVID_CLASSES, 11, ())
    split.check_classes(CAMVID_CLASSES)
    with pytest.raises(DatasetError, match="the model has 10 classes, camvid has 11: sky, building"):
        split.check_classes(CAMVID_CLASSES[:-1])
    renamed = (*CAMVID_CLASSES[:-1], ClassInfo(10, "train", (0, 0, 0)))
    with pytest.raises(DatasetError, match="class 10 is 'train' in the model and 'bicyclist' in camvid"):
        split.check_classes(renamed)


def test_bad_folders_show_the_expected_tree(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown data set 'kitty'; known are: camvid"):
        load_split("kitty", tmp_path, "val")
    with pytest.raises(DatasetError, match=r"no folder .*nowhere; expected\n  DIR/train/"):
        load_split("camvid", tmp_path / "nowhere", "val")
    with pytest.raises(DatasetError, match=r"no split 'test'; expected\n  DIR/train/"):
        load_split("camvid", tmp_path, "test")
    write_pair(tmp_path, "a.png")
    (tmp_path / "valannot" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"valannot/a\.png is missing; expected"):
        load_split("camvid", tmp_path, "val")
    (tmp_path / "val" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"split 'val' in .* is empty"):
        load_split("camvid", tmp_path, "val")
    (tmp_path / "val.txt").write_text("val/a.png\n")
    with pytest.raises(DatasetError, match=r"val\.txt, line 1: 'val/a\.png' is not `image label`"):
        load_split("camvid", tmp_path, "val")


def test_bad_pictures_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "a.png", label_hw=(6, 9))
    image, label = tmp_path / "val" / "a.png", tmp_path / "valannot" / "a.png"
    with pytest.raises(DatasetError, match=r"label .*a\.png is 6 x 9 pixels .* 6 x 8; both have to be the same size"):
        read_pair(image, label)
    assert cv2.imwrite(str(label), np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"uint8 \(6, 8, 3\); it has to be 8-bit grey"):
        read_pair(image, label)
    image.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"cannot read .*val/a\.png"):
        read_pair(image, label)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "a.png")
    image, label = tmp_path / "val" / "a.png", tmp_path / "valannot" / "a.png"
    data = bytearray(label.read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)  # width and height in the first chunk, IHDR
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    label.write_bytes(data)
    with pytest.raises(DatasetError, match=r"cannot read .*valannot/a\.png"):
        read_pair(image, label)
