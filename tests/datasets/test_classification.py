"""Images with one class each: the plain folder of class folders, and ImageNet-1K in both of its layouts."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lwseg_ros.datasets import (
    CLASSIFICATION_DATASETS,
    ClassificationSplit,
    load_classification_split,
    read_image,
)
from lwseg_ros.errors import DatasetError

WNIDS = [f"n{9000000 + 7 * number:08}" for number in range(1000)]


@pytest.fixture
def link_images(tmp_path: Path, write_image: Callable[[str], None]) -> Callable[..., None]:
    """Write images under tmp_path, all of them links to one file."""
    write_image("../one.jpg")

    def link(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / "../one.jpg", tmp_path / name)

    return link


def pairs(split: ClassificationSplit, root: Path) -> list[tuple[str, int]]:
    listed = [split[number] for number in range(len(split))]
    return [(image.relative_to(root).as_posix(), index) for image, index in listed]


# Any folder of class folders


def test_classes_are_numbered_by_their_sorted_names(tmp_path: Path, link_images: Callable[..., None]) -> None:
    link_images("train/Zebra/b.JPG", "train/ape/2.jpg", "train/ape/1.png", "train/ape/notes.txt", "train/.cache/a.jpg")
    split = load_classification_split("image_folder", tmp_path, "train")
    assert split.class_names == ("Zebra", "ape"), "as sorted() and torchvision's ImageFolder sort"
    assert pairs(split, tmp_path / "train") == [("Zebra/b.JPG", 0), ("ape/1.png", 1), ("ape/2.jpg", 1)]
    assert read_image(split[0][0]).shape == (2, 4, 3)


def test_names_that_are_no_ascii_come_back_whole(tmp_path: Path, link_images: Callable[..., None]) -> None:
    link_images("val/châtaigne/à l'eau.jpg", "val/x/a.jpg")
    split = load_classification_split("image_folder", tmp_path, "val")
    assert split[0][0].is_file()
    again = pickle.loads(pickle.dumps(split))
    assert pairs(again, tmp_path) == pairs(split, tmp_path)


def test_half_unpacked_class_folders_are_named(tmp_path: Path, link_images: Callable[..., None]) -> None:
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*val; expected\n  DIR/train/CLASS/"):
        load_classification_split("image_folder", tmp_path, "val")
    link_images("train/a/1.jpg")
    with pytest.raises(DatasetError, match=r"train holds 1 class folders, expected 2 or more as in\n  DIR/train"):
        load_classification_split("image_folder", tmp_path, "train")
    for name in ("b", "c"):
        (tmp_path / "train" / name).mkdir()
    with pytest.raises(DatasetError, match=r"train/b holds no image and neither do 1 more; expected\n"):
        load_classification_split("image_folder", tmp_path, "train")


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8 torn")
    with pytest.raises(DatasetError, match=r"cannot read .*a\.jpg: missing, or no image that OpenCV knows"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", sorted(CLASSIFICATION_DATASETS))
def test_a_folder_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*nowhere; expected"):
        load_classification_split(name, tmp_path / "nowhere", "val")


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown data set for classification 'camvid'; known are: image_folder, im"):
        load_classification_split("camvid", tmp_path, "train")


# ImageNet-1K


def test_imagenet_as_class_folders(tmp_path: Path, link_images: Callable[..., None]) -> None:
    for split in ("train", "val"):
        link_images(*(f"{split}/{wnid}/{wnid}_{number}.JPEG" for number in (2, 10) for wnid in reversed(WNIDS)))
        listed = load_classification_split("imagenet1k", tmp_path, split)
        assert listed.class_names == tuple(WNIDS)
        assert len(listed) == 2000
        assert listed[1999] == (tmp_path / split / WNIDS[999] / f"{WNIDS[999]}_2.JPEG", 999)
        assert listed.class_indices.tolist() == [number // 2 for number in range(2000)]


def test_imagenet_as_kaggle_packs_it(tmp_path: Path, link_images: Callable[..., None]) -> None:
    images, lists = "ILSVRC/Data/CLS-LOC", tmp_path / "ILSVRC" / "ImageSets" / "CLS-LOC"
    link_images(*(f"{images}/train/{wnid}/{wnid}_1.JPEG" for wnid in WNIDS))
    names = [f"ILSVRC2012_val_{number:08}" for number in (1, 2, 3)]
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*CLS-LOC/val; expected"):
        load_classification_split("imagenet1k", tmp_path, "val")
    link_images(*(f"{images}/val/{name}.JPEG" for name in names[:2]))
    with pytest.raises(DatasetError, match=r"cannot read .*val\.txt: .*; expected\n  DIR/train/n01440764"):
        load_classification_split("imagenet1k", tmp_path, "val")
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("")
    with pytest.raises(DatasetError, match=r"the list .*val\.txt is empty; expected"):
        load_classification_split("imagenet1k", tmp_path, "val")
    (lists / "val.txt").write_text("".join(f"{name} {line}\n" for line, name in enumerate(names, 1)))
    with pytest.raises(DatasetError, match=r"val/ILSVRC2012_val_00000003\.JPEG is missing; expected"):
        load_classification_split("imagenet1k", tmp_path, "val")
    link_images(f"{images}/val/{names[2]}.JPEG")
    with pytest.raises(DatasetError, match=r"cannot read .*LOC_val_solution\.csv: .*; expected"):
        load_classification_split("imagenet1k", tmp_path, "val")

    solution = f"ImageId,PredictionString\n{names[2]},{WNIDS[999]} 85 1 499 272 \n"
    solution += f"{names[0]},{WNIDS[3]} 1 2 3 4 {WNIDS[3]} 5 6 7 8 \n"
    (tmp_path / "LOC_val_solution.csv").write_text(solution)
    with pytest.raises(DatasetError, match=f"gives no class for {names[1]}; expected"):
        load_classification_split("imagenet1k", tmp_path, "val")
    (tmp_path / "LOC_val_solution.csv").write_text(f"{solution}{names[1]},n00000001 1 2 3 4\n")
    with pytest.raises(DatasetError, match=f"the class 'n00000001', which is none of train's, for {names[1]}"):
        load_classification_split("imagenet1k", tmp_path, "val")
    (tmp_path / "LOC_val_solution.csv").write_text(f"{solution}{names[1]},{WNIDS[0]} 1 2 3 4\n")
    split = load_classification_split("imagenet1k", tmp_path, "val")
    assert pairs(split, tmp_path / images / "val") == [
        (f"{names[0]}.JPEG", 3),
        (f"{names[1]}.JPEG", 0),
        (f"{names[2]}.JPEG", 999),
    ]
    train = load_classification_split("imagenet1k", tmp_path, "train")
    assert train.class_names == split.class_names == tuple(WNIDS)
    assert train[5] == (tmp_path / images / "train" / WNIDS[5] / f"{WNIDS[5]}_1.JPEG", 5)


def test_half_unpacked_imagenet_is_named(tmp_path: Path, link_images: Callable[..., None]) -> None:
    link_images(*(f"train/{wnid}/1.JPEG" for wnid in WNIDS[:999]), "train/lost+found/1.JPEG")
    message = "train holds 999 class folders such as n01440764, ImageNet-1K has 1000: unpack it wholly; expected\n  DIR/train/n"
    with pytest.raises(DatasetError, match=re.escape(message)):
        load_classification_split("imagenet1k", tmp_path, "train")
    link_images(f"train/{WNIDS[999]}/1.txt")
    with pytest.raises(DatasetError, match=rf"train/{WNIDS[999]} holds no image; expected\n"):
        load_classification_split("imagenet1k", tmp_path, "train")
