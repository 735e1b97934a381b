"""Mapillary Vistas v1.2: 66 ids, of which the last does not count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lwseg_ros.datasets import Split
from lwseg_ros.datasets.mapillary import CLASSES
from lwseg_ros.errors import DatasetError


@pytest.mark.parametrize("labels", ["labels", "v1.2/labels"])
def test_ids_are_kept_and_unlabeled_is_ignored(
    labels: str,
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    for name in ("b", "a"):
        write_image(f"validation/images/{name}.jpg")
        write_label(f"validation/{labels}/{name}.png", 0, 13, 64, 65)
    split = load("mapillary", "validation")
    assert [image.name for image, _ in split.pairs] == ["a.jpg", "b.jpg"]
    assert ids(split, 0) == [0, 13, 64, 65]
    assert (len(split.classes), split.ignore_id) == (65, 65)


def test_labels_of_version_2_are_refused(
    load: Callable[..., Split],
    write_image: Callable[[str], None],
    write_label: Callable[..., None],
    ids: Callable[..., list[int]],
) -> None:
    write_image("training/images/a.jpg")
    write_label("training/labels/a.png", 66, 123)
    with pytest.raises(DatasetError, match=r"holds the values \[66, 123\]; accepted are 0 to 65; correct or replace"):
        ids(load("mapillary", "training"), 0)


def test_published_classes() -> None:
    assert (CLASSES[0].name, CLASSES[0].color_rgb) == ("Bird", (165, 42, 42))
    assert (CLASSES[13].name, CLASSES[13].color_rgb) == ("Road", (128, 64, 128))
    assert (CLASSES[50].name, CLASSES[50].color_rgb) == ("Traffic Sign (Front)", (220, 220, 0))
    assert (CLASSES[64].name, CLASSES[64].color_rgb) == ("Ego Vehicle", (120, 10, 10))


def test_half_unpacked_trees_are_named(
    tmp_path: Path, load: Callable[..., Split], write_image: Callable[[str], None], write_label: Callable[..., None]
) -> None:
    with pytest.raises(DatasetError, match=r"no split 'val': no folder .*val/images; expected\n  DIR/training/images"):
        load("mapillary", "val")
    write_image("training/images/a.jpg")
    with pytest.raises(DatasetError, match=r"no split 'training': no folder .*training/labels; expected"):
        load("mapillary", "training")
    write_label("training/labels/b.png", 0)
    with pytest.raises(DatasetError, match=r"training/labels/a\.png is missing; expected"):
        load("mapillary", "training")
    (tmp_path / "training" / "images" / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"training/images/b\.jpg is missing; expected"):
        load("mapillary", "training")
