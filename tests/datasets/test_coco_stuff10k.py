"""COCO-Stuff 10K after conversion: 171 classes, stored from 1 on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
    with pytest.raises(DatasetError, match=r"a_labelTrainIds\.png is missing; expected[\s\S]*have to be converted"):
        load("coco_stuff10k", "train2014")
    write_label("annotations/train2014/b_labelTrainIds.png", 0)
    (tmp_path / "images" / "train2014" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"images/train2014/b\.jpg is missing; expected"):
        load("coco_stuff10k", "train2014")
