"""COCO-Stuff 10K after conversion: 171 classes, stored from 1 on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.coco_stuff10k import CLASSES
from lwseg_ros.errors import DatasetError


def test_ids_are_stored_one_higher_and_0_is_ignored(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    for name in ("COCO_train2014_000000000077", "COCO_train2014_000000000009"):
        write_image(f"images/test2014/{name}.jpg")
        write_label(f"annotations/test2014/{name}_labelTrainIds.png", 0, 1, 81, 171)
    split = load("coco_stuff10k", "test2014")
    assert [image.stem for image, _ in split.pairs] == ["COCO_train2014_000000000009", "COCO_train2014_000000000077"]
    assert ids(split, 0) == [255, 0, 80, 170]
    assert split.ignore_id == 255


def test_it_is_read_as_downloaded(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], ids: Callable[..., list[int]]
) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "imageLists").mkdir()
    for name, numbers in (("a", [0, 1, 13, 182]), ("b", [92, 11, 90, 27]), ("c", [1, 1, 12, 1])):
        write_image(f"images/{name}.jpg")
        savemat(tmp_path / "annotations" / f"{name}.mat", {"S": np.array([numbers] * 2, np.uint8), "names": ["x"]})
    (tmp_path / "imageLists" / "train.txt").write_text("b\na\n")
    (tmp_path / "imageLists" / "test.txt").write_text("c\n")
    split = load("coco_stuff10k", "train2014")
    assert [image.stem for image, _ in split.pairs] == ["b", "a"]
    names = [[split.classes[i].name if i != 255 else "ignored" for i in ids(split, index)] for index in range(2)]
    assert names == [["banner", "fire hydrant", "toothbrush", "backpack"], ["ignored", "person", "stop sign", "wood"]]
    with pytest.raises(DatasetError, match=r"c\.mat holds the values \[12\]; accepted are 0 to 11, 13 to 25, 27 to 28"):
        ids(load("coco_stuff10k", "test2014"), 0)
    (tmp_path / "annotations" / "b.mat").unlink()
    with pytest.raises(DatasetError, match=r"annotations/b\.mat is missing; expected"):
        load("coco_stuff10k", "train2014")


def test_labels_of_the_164k_release_are_refused(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    write_image("images/train2014/a.jpg")
    write_label("annotations/train2014/a_labelTrainIds.png", 0, 255)
    with pytest.raises(DatasetError, match=r"holds the values \[255\]; accepted are 0 to 171"):
        ids(load("coco_stuff10k", "train2014"), 0)


def test_things_come_before_stuff_and_gaps_are_closed() -> None:
    names = [info.name for info in CLASSES]
    assert (names[0], names[10], names[11], names[79]) == ("person", "fire hydrant", "stop sign", "toothbrush")
    assert (names[80], names[170]) == ("banner", "wood")
    assert {"street sign", "hat", "hair brush"}.isdisjoint(names)


def test_half_unpacked_trees_are_named(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], write_label: Callable[..., None]
) -> None:
    with pytest.raises(
        DatasetError, match=r"no split 'train': no folder .*images/train; expected\n  DIR/images/train2"
    ):
        load("coco_stuff10k", "train")
    write_image("images/train2014/a.jpg")
    with pytest.raises(DatasetError, match=r"no folder .*annotations/train2014; expected"):
        load("coco_stuff10k", "train2014")
    (tmp_path / "annotations" / "train2014").mkdir(parents=True)
    (tmp_path / "annotations" / "train2014" / "a.mat").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"a_labelTrainIds\.png is missing; expected[\s\S]*as downloaded"):
        load("coco_stuff10k", "train2014")
    write_label("annotations/train2014/b_labelTrainIds.png", 0)
    (tmp_path / "images" / "train2014" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"images/train2014/b\.jpg is missing; expected"):
        load("coco_stuff10k", "train2014")
