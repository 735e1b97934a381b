"""Label maps: the shipped ones against published data sets, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny_model import CLASSES

from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.datasets.camvid_full import CODE as CAMVID_CODE
from lwseg_ros.datasets.cityscapes import CLASSES as CITYSCAPES_CLASSES
from lwseg_ros.datasets.cityscapes import LABEL_IDS, TRAIN_IDS
from lwseg_ros.datasets.labels import ColorCode, IdCode
from lwseg_ros.errors import DatasetError
from lwseg_ros.replay.label_map import SHIPPED_MAPS, load_label_map


def written(folder: Path, text: str) -> str:
    path = folder / "map.yaml"
    path.write_text(text)
    return str(path)


def test_shipped_maps_read_their_data_set_as_its_loader_does() -> None:
    assert {file.stem for file in SHIPPED_MAPS.iterdir()} == {"cityscapes_ids", "cityscapes_train_ids", "camvid_colors"}
    ids = load_label_map("cityscapes_ids").code(CITYSCAPES_CLASSES, 255)
    train_ids = load_label_map("cityscapes_train_ids").code(CITYSCAPES_CLASSES, 255)
    colors = load_label_map("camvid_colors").code(CAMVID_CLASSES, 11)
    assert isinstance(ids, IdCode)
    assert isinstance(colors, ColorCode)
    assert ids.ids == {**LABEL_IDS.ids, 255: 255}
    assert train_ids.ids == TRAIN_IDS.ids
    assert colors.ids == CAMVID_CODE.ids


def test_cityscapes_is_counted_as_the_coarser_classes_of_camvid() -> None:
    label_map = load_label_map("cityscapes_train_ids")
    names = {info.id: info.name for info in CAMVID_CLASSES} | {11: None}
    code = label_map.code(CAMVID_CLASSES, 11)
    counted = {CITYSCAPES_CLASSES[stored].name: names[class_id] for stored, class_id in code.ids.items() if stored < 19}
    assert counted["person"] == "pedestrian"
    assert counted["rider"] == counted["bicycle"] == "bicyclist"
    assert counted["sidewalk"] == "pavement"
    assert counted["traffic light"] == counted["traffic sign"] == "sign_symbol"
    assert counted["bus"] == "car"
    assert not label_map.left_out(CAMVID_CLASSES)


def test_what_the_model_lacks_is_not_judged_and_named() -> None:
    label_map = load_label_map("cityscapes_train_ids")
    code = label_map.code(CLASSES, 255)
    assert isinstance(code, IdCode)
    assert code.ids[0] == 0
    assert code.ids[8] == 1
    assert code.ids[4] == 255
    left_out = label_map.left_out(CLASSES)
    assert "fence" in left_out
    assert not {"road", "vegetation", "car", "sky", "bus"} & {*left_out}


def test_a_file_of_colours(tmp_path: Path) -> None:
    label_map = load_label_map(written(tmp_path, "colors:\n  1 2 3: [lorry, car]\n  0 0 0: null\n  9 9 9: sky\n"))
    code = label_map.code(CLASSES, 255)
    stored = np.array([[[3, 2, 1], [0, 0, 0], [9, 9, 9]]], np.uint8)
    assert code.decode(stored, "here").tolist() == [[3, 255, 2]]
    assert label_map.left_out(CLASSES) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has to have one key, ids or colors"),
        ("ids: {0: road}\ncolors: {0 0 0: road}", "has to have one key"),
        ("ids: []", "expected entries such as"),
        ("ids: {256: road}", "256 is no stored number, expected 0 to 255"),
        ("ids: {true: road}", "True is no stored number"),
        ("colors: {1 2: road}", "'1 2' is no colour, expected red green blue"),
        ("colors: {1 2 256: road}", "'1 2 256' is no colour"),
        ("ids: {0: 3}", "0 is 3, expected a class, several, or null"),
        ("ids: {0: road, 0: sky}", "0 is there twice"),
        ("ids: {0: road, 0x0: sky}", "0 is there twice"),
        ("colors: {0 0 0: road, 0 0 00: sky}", "has a colour twice"),
        ("ids: {0: []}", "expected a class, several, or null"),
        ("ids: [", "cannot read the label map"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_label_map(written(tmp_path, text))


def test_a_misspelt_class_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    label_map = load_label_map(written(tmp_path, "ids: {0: raod, 1: [sky, null]}"))
    with pytest.raises(
        DatasetError, match=r"calls 0 'raod'; the model's classes are road, tree, sky, car, sign, and null"
    ):
        label_map.code(CLASSES, 255)


def test_a_map_that_is_not_there_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match="shipped are camvid_colors, cityscapes_ids, cityscapes_train_ids, and a file"
    ):
        load_label_map("cityscapes")
    with pytest.raises(DatasetError, match="cannot read the label map"):
        load_label_map(str(tmp_path))
