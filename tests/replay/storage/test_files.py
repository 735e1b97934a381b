"""Which files make up a bag: metadata.yaml is a hint, the folder is the truth."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml
from backports import zstd
from rosbags.rosbag2 import StoragePlugin
from support.bag_files import LABEL_TOPIC, mcap_of, painted_messages, stamp_ns, write_messages
from support.effort import is_cheap

from lwseg_ros.errors import BagError
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.storage import base

NO_ROOM = r"bag\.mcap\.zstd unpacked has no room in .*: \d+ bytes more would leave less than .*set TMPDIR"


def image_indices(path: Path) -> tuple[list[int], list[str]]:
    with Bag(path) as bag:
        messages = bag.messages(bag.image_topic(exclude=LABEL_TOPIC))
        numbers = {stamp_ns(index): index for index in range(20)}
        return [numbers[message.stamp_ns] for message in messages], bag.warnings


def split_bag(folder: Path, *names: str) -> Path:
    """Write files of two frames each, and no metadata.yaml."""
    folder.mkdir()
    messages = painted_messages(2 * len(names))
    for number, name in enumerate(names):
        mcap_of(folder / name, messages[6 * number : 6 * number + 6])
    return folder


def write_metadata(folder: Path, *names: str, **other: object) -> None:
    information = {"version": 5, "storage_identifier": "mcap", "relative_file_paths": list(names), **other}
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": information}))


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("storage_identifier", ""),
        ("storage_identifier", "rosbag3"),
        ("version", 99),
        ("message_count", 7),
        ("message_count", "many"),
        ("topics_with_message_count", []),
        ("topics_with_message_count", None),
        ("duration", "long"),
        ("compression_mode", "message"),
        ("files", 3),
    ],
)
def test_what_metadata_says_besides_names_does_not_matter(
    tmp_path: Path, storage: StoragePlugin, key: str, value: object
) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(3), storage)
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"][key] = value
    (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    assert image_indices(path) == ([0, 1, 2], [])
    for topic in metadata["rosbag2_bagfile_information"]["topics_with_message_count"] or []:
        topic["message_count"] = 1000
        topic["topic_metadata"] = {"name": topic["topic_metadata"]["name"], "offered_qos_profiles": 7}
    (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    assert image_indices(path) == ([0, 1, 2], [])


def test_names_in_metadata_decide_where_they_are_there(tmp_path: Path) -> None:
    folder = split_bag(tmp_path / "bag", "bag_2.mcap", "bag_10.mcap", "copy.mcap")
    assert image_indices(folder) == (
        [0, 1, 2, 3, 4, 5],
        [f"{folder} holds no metadata.yaml; its files are read in the order of their names"],
    )
    write_metadata(folder, "/recorded/on/the/vehicle/bag_2.mcap", "bag/bag_10.mcap")
    assert image_indices(folder) == (
        [0, 1, 2, 3],
        ["copy.mcap is not read: metadata.yaml does not name it"],
    )
    write_metadata(folder, "bag_2.mcap", "bag_3.mcap", "bag_10.mcap", "copy.mcap")
    assert image_indices(folder) == ([0, 1, 2, 3, 4, 5], ["bag_3.mcap is missing, which metadata.yaml names"])
    elsewhere = split_bag(tmp_path / "elsewhere", "other.mcap")
    write_metadata(folder, str(elsewhere / "other.mcap"), "../elsewhere/gone.mcap")
    found, warnings = image_indices(folder)
    assert found == [0, 1]
    assert warnings[0] == "../elsewhere/gone.mcap is missing, which metadata.yaml names"
    write_metadata(folder, "/elsewhere/rosbag2_0.mcap")
    found, warnings = image_indices(folder)
    assert found == [0, 1, 2, 3, 4, 5]
    assert warnings[0].startswith("metadata.yaml names none of the files beside it")
    (folder / "metadata.yaml").write_text("")
    assert image_indices(folder)[0] == [0, 1, 2, 3, 4, 5]


def test_a_file_that_is_named_more_than_once_is_read_once(tmp_path: Path) -> None:
    folder = split_bag(tmp_path / "bag", "bag_0.mcap", "bag_1.mcap")
    (folder / "link.mcap").symlink_to("bag_0.mcap")
    assert image_indices(folder)[0] == [0, 1, 2, 3]
    again = ["bag_0.mcap", "./bag_0.mcap", "../bag/bag_0.mcap", str(folder / "bag_0.mcap"), "link.mcap"]
    for name in again:
        write_metadata(folder, "bag_0.mcap", name, "bag_1.mcap", name)
        assert image_indices(folder) == ([0, 1, 2, 3], [])
    write_metadata(folder, "link.mcap", "bag_1.mcap", "bag_0.mcap")
    assert image_indices(folder) == ([0, 1, 2, 3], [])
    elsewhere = split_bag(tmp_path / "elsewhere", "other.mcap")
    write_metadata(folder, "../elsewhere/other.mcap", str(elsewhere / "other.mcap"))
    assert image_indices(folder)[0] == [0, 1]


@pytest.mark.parametrize("name", ["", ".", "..", "/", "sub", "sub/", "a" * 300, "\0", "loop.mcap", "pipe.mcap"])
def test_a_name_that_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    folder = split_bag(tmp_path / "bag", "bag_0.mcap")
    (folder / "sub").mkdir()
    write_metadata(folder, name, "bag_0.mcap")
    if name == "loop.mcap":
        (folder / name).symlink_to(name)
    elif name == "pipe.mcap":
        os.mkfifo(folder / name)
    found, warnings = image_indices(folder)
    assert found == [0, 1]
    assert warnings[0] == f"{name or repr(name)} is missing, which metadata.yaml names"
    if not name.endswith(".mcap"):
        write_metadata(folder, name)
        found, warnings = image_indices(folder)
        assert found == [0, 1]
        assert warnings == [
            "metadata.yaml names none of the files beside it; they are read in the order of their names"
        ]


def test_fewer_messages_than_metadata_counts_are_said(tmp_path: Path) -> None:
    folder = split_bag(tmp_path / "bag", "bag_0.mcap")
    for count, said in {5: [], 6: [], 7: ["metadata.yaml counts 7 messages, the files hold 6"]}.items():
        write_metadata(folder, "bag_0.mcap", message_count=count)
        assert image_indices(folder) == ([0, 1], said)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bag.mcap.zstd").write_bytes(zstd.compress(bytes(100 << 20)))
    with pytest.raises(BagError, match=r"bag\.mcap\.zstd is left packed"), Bag(tmp_path / "bag.mcap.zstd"):
        pass


def test_nothing_is_unpacked_into_a_folder_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd.compress(mcap_of(tmp_path / "bag.mcap", painted_messages(3)).read_bytes())
    (tmp_path / "bag.mcap.zstd").write_bytes(packed)
    monkeypatch.setattr(base, "MIN_FREE_BYTES", shutil.disk_usage(tmp_path).total)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BagError, match=NO_ROOM), Bag(tmp_path / "bag.mcap.zstd"):
        pass
    assert not list(tmp_path.glob("lwseg_bag_*"))


def test_one_of_several_files_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    folder = split_bag(tmp_path / "bag", "bag_0.mcap", "bag_1.mcap")
    (folder / "bag_2.mcap").write_bytes(b"")
    found, warnings = image_indices(folder)
    assert found == [0, 1, 2, 3]
    assert "one file is left out: bag_2.mcap is empty" in warnings[1]


def test_the_content_tells_the_storage(tmp_path: Path) -> None:
    path = mcap_of(tmp_path / "bag.db3", painted_messages(2))
    assert image_indices(path) == ([0, 1], [])
    path.write_bytes(b"something else, of some length")
    with pytest.raises(BagError, match=r"bag\.db3 is no MCAP file, SQLite database or ROS 1 bag"), Bag(path):
        pass


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_compressed_files(tmp_path: Path, storage: StoragePlugin) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(3, size_hw=(240, 320), compressed=False), storage)
    data = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    packed = zstd.compress(data.read_bytes())
    data.with_name(f"{data.name}.zstd").write_bytes(packed)
    write_metadata(path, f"{data.name}.zstd", compression_mode="FILE", compression_format="zstd")
    data.unlink()
    assert image_indices(path) == ([0, 1, 2], [])
    data.with_name(f"{data.name}.zstd").write_bytes(packed[: len(packed) * 9 // 10])
    if storage is StoragePlugin.MCAP:
        found, warnings = image_indices(path)
        assert found == [0, 1]
        assert "has no end" in warnings[0]
    else:
        with pytest.raises(BagError, match="was cut off"), Bag(path):
            pass


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " + "{a: " * 50 + "1" + "}" * 50,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
        "rosbag2_bagfile_information: [",
        "!!python/object/apply:os.system [true]",
        "\0",
        "#" * (5 << 20),
    ],
)
def test_metadata_that_is_no_metadata_is_refused_at_once(tmp_path: Path, text: str) -> None:
    path = split_bag(tmp_path / "bag", "bag_0.mcap")
    (path / "metadata.yaml").write_text(text)

    def refuse() -> None:
        with pytest.raises(BagError, match=r"the bag .*bag cannot be opened: metadata\.yaml"), Bag(path):
            pass

    assert is_cheap(refuse)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bag.mcap")
    with pytest.raises(BagError, match=r"bag\.mcap is no file"), Bag(tmp_path / "bag.mcap"):
        pass
    (tmp_path / "bag.mcap").unlink()
    mcap_of(tmp_path / "bag.mcap", painted_messages(1))
    os.mkfifo(tmp_path / "metadata.yaml")
    with pytest.raises(BagError, match=r"metadata\.yaml cannot be read"), Bag(tmp_path):
        pass
