"""A folder that is described by its own dataset.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.folder import EXAMPLE
from lwseg_ros.errors import DatasetError


@pytest.fixture
def describe(tmp_path: Path) -> Callable[..., None]:
    """Write the documented example as dataset.yaml, with changes of whole entries; "absent" takes one out."""

    def write(**changes: Any) -> None:
        values = {key: value for key, value in (yaml.safe_load(EXAMPLE) | changes).items() if value != "absent"}
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(values))

    return write


def test_the_documented_example(
    tmp_path: Path,
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    (tmp_path / "dataset.yaml").write_text(EXAMPLE)
    for name in ("b", "a"):
        write_image(f"train/images/{name}.jpg")
        write_label(f"train/labels/{name}.png", 0, 2, 255, 1)
    write_image("val/images/row_1/a.jpg")
    write_label("val/labels/row_1/a.png", 2)
    train, val = load("folder", "train"), load("folder", "val")
    assert (train.dataset, train.ignore_id) == ("orchard", 255)
    assert [(c.id, c.name, c.color_rgb) for c in train.classes] == [
        (0, "grass", (128, 0, 0)),
        (1, "trunk", (128, 64, 0)),
        (2, "path", (128, 128, 0)),
    ]
    assert [image.name for image, _ in train.pairs] == ["a.jpg", "b.jpg"]
    assert ids(train, 0) == [0, 2, 255, 1]
    assert ids(val, 0) == [2, 2, 2, 2]


def test_without_an_ignored_id_every_pixel_counts(
    describe: Callable[..., None],
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    describe(ignore_id=None)
    write_image("train/images/a.jpg")
    write_label("train/labels/a.png", 0, 255)
    split = load("folder", "train")
    assert split.ignore_id is None
    with pytest.raises(DatasetError, match=r"labels/a\.png holds the values \[255\]; accepted are 0 to 2"):
        ids(split, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "name is 3, expected a text"),
        ({"name": "absent"}, "the file has the keys .*, expected classes, name, splits and optionally ignore_id"),
        ({"colour": "red"}, "the file has the keys .*colour.*, expected classes, name, splits"),
        ({"classes": []}, r"classes is \[\], expected a list of 1 to 255"),
        ({"classes": ["grass", "grass"]}, "class 1 has the name 'grass', expected a text that no other class has"),
        ({"classes": ["grass", True]}, "class 1 has the name True, expected a text"),
        (
            {"classes": [{"name": "grass", "color": [0, 0, 256]}]},
            r"class 'grass' has the color \[0, 0, 256\], expected \[R",
        ),
        ({"classes": [{"color": [0, 0, 0]}]}, "class 0 has the keys color, expected name and optionally color"),
        ({"ignore_id": 2}, "ignore_id is 2, expected a number from 3 to 255, or null"),
        ({"splits": {"train": "images"}}, "split train is 'images', expected images, labels"),
        (
            {"splits": {"train": {"images": "/data/*.jpg", "labels": "{name}.png"}}},
            r"images of split train is '/data/\*\.jpg', expected a path relative to",
        ),
        (
            {"splits": {"train": {"images": "**.jpg", "labels": "{name}.png"}}},
            r"images of split train is '\*\*\.jpg', which cannot be searched for",
        ),
        (
            {"splits": {"train": {"images": f"{'x' * 300}.jpg", "labels": "{name}.png"}}},
            "images of split train is 'xxx.*', which cannot be searched for",
        ),
        (
            {"splits": {"train": {"images": "*.jpg", "labels": "label.png"}}},
            r"labels of split train is 'label\.png', expected a path with \{name\} in it",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_an_example(
    changes: dict[str, Any], message: str, describe: Callable[..., None], load: Callable[..., Split]
) -> None:
    describe(**changes)
    with pytest.raises(DatasetError, match=rf"dataset\.yaml: {message}[\s\S]*an example:\nname: orchard"):
        load("folder", "train")


def test_missing_files_are_named(
    tmp_path: Path, describe: Callable[..., None], load: Callable[..., Split], write_image: Callable[[str], None]
) -> None:
    with pytest.raises(DatasetError, match=r"no file .*dataset\.yaml; expected one such as\nname: orchard"):
        load("folder", "train")
    (tmp_path / "dataset.yaml").write_text("name: [")
    with pytest.raises(
        DatasetError, match=r"cannot read .*dataset\.yaml: [\s\S]*expected a file such as\nname: orchard"
    ):
        load("folder", "train")
    describe()
    with pytest.raises(DatasetError, match=r"describes no split 'test'; it describes: train, val"):
        load("folder", "test")
    with pytest.raises(DatasetError, match=r"no image of split 'train' matches .*train/images/\*\.jpg; correct"):
        load("folder", "train")
    write_image("train/images/a.jpg")
    with pytest.raises(DatasetError, match=r"train/labels/a\.png is missing; expected"):
        load("folder", "train")


def test_the_page_on_training_shows_the_same_example() -> None:
    page = Path(__file__).parents[2] / "docs" / "training.md"
    assert EXAMPLE in page.read_text(encoding="utf-8")


def test_the_earlier_key_of_images_is_read_with_a_warning(
    tmp_path: Path,
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
) -> None:
    (tmp_path / "dataset.yaml").write_text(EXAMPLE.replace("images:", "photos:"))
    write_image("train/images/a.jpg")
    write_label("train/labels/a.png", 0)
    with pytest.warns(FutureWarning, match="'photos' is called 'images' now"):
        assert len(load("folder", "train").pairs) == 1


@pytest.mark.parametrize(
    "text",
    [
        "name: &a [*a]",
        "name: " + "[" * 50_000,
        "name: 2024-99-99",
        "a: &a [x, x]\nb: &b [*a, *a]\nname: [*b, *b]",
        "\0",
    ],
)
def test_a_description_that_explodes_or_is_no_yaml(tmp_path: Path, load: Callable[..., Split], text: str) -> None:
    (tmp_path / "dataset.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"cannot read .*dataset\.yaml: "):
        load("folder", "train")


OWN = {"images": "images/*.jpg", "labels": "labels/{name}.png"}


def test_a_split_takes_each_fifth_image_out_of_another(
    describe: Callable[..., None],
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
) -> None:
    describe(splits={"train": OWN, "val": {"of": "train", "every": 5}})
    for number in range(12):
        write_image(f"images/{number:02}.jpg")
        write_label(f"labels/{number:02}.png", 0)
    names = {split: [image.stem for image, _ in load("folder", split).pairs] for split in ("train", "val")}
    assert names == {"train": ["00", "01", "02", "03", "05", "06", "07", "08", "10", "11"], "val": ["04", "09"]}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"of": "train", "every": 1}, "every of split val is 1, expected a number from 2 on"),
        ({"of": "train"}, "split val has the keys of, expected every, of"),
        ({"of": "other", "every": 5}, "split val is of 'other', expected a split that has images of its own"),
        ({"of": "val", "every": 5}, "split val is of 'val', expected a split that has images of its own"),
        ({"of": "train", "every": 5}, "split train has less than the 5 images of which val takes one"),
    ],
)
def test_a_split_that_takes_what_is_not_there_is_refused(
    describe: Callable[..., None],
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    entry: dict[str, Any],
    message: str,
) -> None:
    describe(splits={"train": OWN, "val": entry})
    write_image("images/a.jpg")
    write_label("labels/a.png", 0)
    with pytest.raises(DatasetError, match=message):
        load("folder", "val")
