"""CamVid in the layout of the SegNet tutorial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lwseg_ros.datasets import Split, load_split
from lwseg_ros.errors import DatasetError


@pytest.fixture
def write_pair(write_image: Callable[[str], None], write_label: Callable[..., None]) -> Callable[[str], None]:
    """Write an image and its label, all road, into the split `val`."""

    def write(name: str) -> None:
        write_image(f"val/{name}")
        write_label(f"valannot/{name}", 3)

    return write


def test_folders_are_listed_in_name_order(
    load: Callable[..., Split], write_pair: Callable[[str], None], ids: Callable[..., list[int]]
) -> None:
    for name in ("b.png", "a.png"):
        write_pair(name)
    split = load("camvid", "val")
    assert [(image.name, Path(str(label)).parent.name) for image, label in split.pairs] == [
        ("a.png", "valannot"),
        ("b.png", "valannot"),
    ]
    assert split.ignore_id == 11
    assert ids(split, 0) == [3, 3, 3, 3]


def test_listing_decides_order_and_content(tmp_path: Path, write_pair: Callable[[str], None]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_pair(name)
    (tmp_path / "val.txt").write_text("val/c.png valannot/c.png\n\nval/a.png valannot/a.png\n")
    split = load_split("camvid", str(tmp_path), "val")
    assert [image.name for image, _ in split.pairs] == ["c.png", "a.png"]


def test_bad_folders_show_the_expected_tree(
    tmp_path: Path, load: Callable[..., Split], write_pair: Callable[[str], None]
) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*nowhere; expected\n  DIR/train/"):
        load_split("camvid", tmp_path / "nowhere", "val")
    with pytest.raises(DatasetError, match=r"no split 'test'; expected\n  DIR/train/"):
        load("camvid", "test")
    write_pair("a.png")
    (tmp_path / "valannot" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"valannot/a\.png is missing; expected"):
        load("camvid", "val")
    (tmp_path / "val" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"split 'val' in .* is empty"):
        load("camvid", "val")
    (tmp_path / "val.txt").write_text("val/a.png\n")
    with pytest.raises(DatasetError, match=r"val\.txt, line 1: 'val/a\.png' is not `image label`"):
        load("camvid", "val")
