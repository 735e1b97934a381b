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


@pytest.mark.parametrize(
    "prefix",
    ["/SegNet/CamVid/", "", "./", "../CamVid/", "/home/a user/Cam Vid/", "C:\\SegNet\\CamVid\\", "SegNet/CamVid//"],
)
def test_lists_as_published_are_read_whatever_their_paths_begin_with(
    prefix: str, tmp_path: Path, load: Callable[..., Split], write_pair: Callable[[str], None]
) -> None:
    for name in ("a.png", "b.PNG"):
        write_pair(name)
    slash = "\\" if "\\" in prefix else "/"
    lines = [f"{prefix}val{slash}{name} {prefix}valannot{slash}{name}" for name in ("b.PNG", "a.png")]
    (tmp_path / "val.txt").write_bytes(("\ufeff" + "\r\n".join(lines) + " \r\n").encode())
    assert load("camvid", "val").pairs == tuple(
        (tmp_path / "val" / name, tmp_path / "valannot" / name) for name in ("b.PNG", "a.png")
    )


def test_test_is_a_split_as_the_others(
    load: Callable[..., Split], tmp_path: Path, write_image: Callable[[str], None], write_label: Callable[..., None]
) -> None:
    write_image("test/Seq05VD_f00000.png")
    write_label("testannot/Seq05VD_f00000.png", 3)
    assert len(load("camvid", "test").pairs) == 1
    (tmp_path / "test.txt").write_text(
        "/SegNet/CamVid/test/Seq05VD_f00000.png /SegNet/CamVid/testannot/Seq05VD_f00000.png\n"
        "/SegNet/CamVid/test/Seq05VD_f00030.png /SegNet/CamVid/testannot/Seq05VD_f00030.png\n"
    )
    with pytest.raises(DatasetError, match=r"/test/Seq05VD_f00030\.png is missing and so are 1 more; expected"):
        load("camvid", "test")


def test_a_copy_elsewhere_is_not_read_in_place_of_the_folders_own(
    tmp_path: Path, write_pair: Callable[[str], None]
) -> None:
    write_pair("a.png")
    own = tmp_path / "own"
    own.mkdir()
    (own / "val.txt").write_text(f"{tmp_path}/val/a.png {tmp_path}/valannot/a.png\n")
    with pytest.raises(DatasetError, match=r"own/val/a\.png is missing and so are 1 more"):
        load_split("camvid", own, "val")


def test_lists_that_are_none(tmp_path: Path, load: Callable[..., Split], write_pair: Callable[[str], None]) -> None:
    write_pair("a.png")
    for content in (
        b"val/a.png",
        b"val/a.png valannot/a.png x",
        b"val/a.png valannot/a.png " * 2,
        b"a b",
        b"val/a.jpg valannot/a.jpg",
    ):
        (tmp_path / "val.txt").write_bytes(content)
        with pytest.raises(DatasetError, match=r"val\.txt, line 1: .* is not `image label`; expected"):
            load("camvid", "val")
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"cannot read the list .*val\.txt"):
        load("camvid", "val")


def test_bad_folders_show_the_expected_tree(
    tmp_path: Path, load: Callable[..., Split], write_pair: Callable[[str], None]
) -> None:
    with pytest.raises(DatasetError, match=r"no folder .*nowhere; expected\n  DIR/train/"):
        load_split("camvid", tmp_path / "nowhere", "val")
    with pytest.raises(DatasetError, match=r"no split 'test': no folder .*/test; expected\n  DIR/train/"):
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
