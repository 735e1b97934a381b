"""MCAP files as others write them, as a crash leaves them, and as a bad disk does."""

from __future__ import annotations

import resource
import struct
from pathlib import Path
from typing import Any

import pytest
from support.bag_files import (
    COMPRESSED_IMAGE,
    IMAGE,
    IMAGE_TOPIC,
    LABEL_TOPIC,
    Mcap,
    mcap_of,
    painted_messages,
    stamp_ns,
)

from lwseg_ros.errors import BagError
from lwseg_ros.replay.bag import Bag


def image_stamps(path: Path) -> tuple[list[int], list[str]]:
    """Read the stamps of the images that can be decoded, and what the bag warns of."""
    with Bag(path) as bag:
        topic = bag.image_topic(exclude=LABEL_TOPIC)
        messages = list(bag.messages(topic))
        assert len(messages) == topic.count
        assert all(bag.image(message).shape == (48, 64, 3) for message in messages)
        return [message.stamp_ns for message in messages], bag.warnings


def stamps(count: int) -> list[int]:
    return [stamp_ns(index) for index in range(count)]


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
@pytest.mark.parametrize("profile", ["", "ros2", "something else"])
def test_neither_indexes_nor_statistics_nor_a_profile_are_needed(
    tmp_path: Path, compression: str, profile: str
) -> None:
    path = mcap_of(tmp_path / "bag.mcap", painted_messages(7), compression=compression)
    path.write_bytes(Mcap(profile).data + path.read_bytes()[len(Mcap().data) :])
    assert image_stamps(path) == (stamps(7), [])


def test_messages_outside_of_chunks(tmp_path: Path) -> None:
    mcap, messages = Mcap(), painted_messages(3, labels=False)
    types = {topic: message.__msgtype__ for topic, _, message in messages}
    records = [mcap.describe(topic, msgtype) for topic, msgtype in types.items()]
    records += [mcap.message(*message) for message in messages]
    assert image_stamps(mcap.write(tmp_path / "bag.mcap", *records)) == (stamps(3), [])


@pytest.mark.parametrize(
    ("other", "listed"),
    [
        ({"msgtype": "State", "schema": "jsonschema", "encoding": "json", "definition": "{}"}, "State as json, 1"),
        ({"msgtype": "State", "schema": "unknown"}, "State, 1"),
        ({"msgtype": "my_msgs/msg/State", "definition": "my_msgs/msg/State"}, "my_msgs/msg/State, 1"),
        ({"msgtype": "my_msgs/msg/State", "definition": "\0" * 100}, "my_msgs/msg/State, 1"),
        ({"msgtype": IMAGE, "schema": "protobuf", "encoding": "protobuf"}, "sensor_msgs/msg/Image as protobuf, 1"),
        ({"msgtype": "\ud800".encode("utf-16", "surrogatepass"), "schema": "ros2msg"}, "State"),
    ],
)
def test_a_topic_that_nobody_can_read_is_listed_and_hinders_none(
    tmp_path: Path, other: dict[str, Any], listed: str
) -> None:
    mcap, messages = Mcap(), painted_messages(2, labels=False)[1::2]
    records = mcap.describe("/state", **other) + mcap.describe(IMAGE_TOPIC, COMPRESSED_IMAGE)
    records += mcap.message("/state", 1, b"\0\1") + b"".join(mcap.message(*message) for message in messages)
    path = mcap.write(tmp_path / "bag.mcap", mcap.chunk(records))
    assert image_stamps(path) == (stamps(2), [])
    if listed != "State":
        with Bag(path) as bag, pytest.raises(BagError, match=rf"/state \({listed}\)"):
            bag.image_topic("/state")


def test_an_image_topic_in_another_encoding_is_refused(tmp_path: Path) -> None:
    mcap = Mcap()
    records = mcap.describe(IMAGE_TOPIC, COMPRESSED_IMAGE, encoding="json") + mcap.message(IMAGE_TOPIC, 1, b"{}")
    with Bag(mcap.write(tmp_path / "bag.mcap", records)) as bag:
        with pytest.raises(BagError, match="carries sensor_msgs/msg/CompressedImage as json; accepted are"):
            bag.image_topic(IMAGE_TOPIC)
        with pytest.raises(BagError, match="carries sensor_msgs/msg/CompressedImage as json; read are"):
            list(bag.messages(bag.topics[IMAGE_TOPIC]))


@pytest.mark.parametrize("compression", ["", "lz4", "zstd"])
def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, compression: str) -> None:
    whole = mcap_of(tmp_path / "bag.mcap", painted_messages(9), compression=compression).read_bytes()
    cut = tmp_path / "cut.mcap"
    counts = []
    for share in (0.4, 0.6, 0.8, 0.95):
        cut.write_bytes(whole[: int(share * len(whole))])
        found, warnings = image_stamps(cut)
        counts.append(len(found))
        assert found == stamps(len(found))
        assert len(warnings) == 1
        assert "cut.mcap has no end: the recording was cut off" in warnings[0]
        assert "`mcap recover`" in warnings[0]
    assert counts == sorted(counts)
    assert 3 <= counts[0] < counts[-1] <= 9
    cut.write_bytes(whole[:-8])  # nothing is missing but the end itself
    found, warnings = image_stamps(cut)
    assert found == stamps(9)
    assert "The 27 messages up to there are used" in warnings[0]


def test_a_tail_of_zeros_is_a_cut_off_recording(tmp_path: Path) -> None:
    path = mcap_of(tmp_path / "bag.mcap", painted_messages(4), finished=False)
    with path.open("r+b") as file:
        file.truncate(20 << 30)  # sparse, as a file system leaves it after a crash
    found, warnings = image_stamps(path)
    assert found == stamps(4)
    assert "has no end" in warnings[0]


def test_a_recording_that_was_cut_off_before_its_images_says_so(tmp_path: Path) -> None:
    whole = mcap_of(tmp_path / "bag.mcap", painted_messages(9)).read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[:600])
    with (
        Bag(tmp_path / "cut.mcap") as bag,
        pytest.raises(BagError, match=r"holds no messages.*has no end"),
    ):
        bag.image_topic(exclude=LABEL_TOPIC)
    (tmp_path / "cut.mcap").write_bytes(whole[:60])
    with pytest.raises(BagError, match=r"holds no topics\. cut\.mcap has no end"), Bag(tmp_path / "cut.mcap"):
        pass


@pytest.mark.parametrize("damage", ["checksum", "size", "compression", "declared"])
def test_a_damaged_chunk_is_left_out_and_nobody_is_told_to_recover(tmp_path: Path, damage: str) -> None:
    mcap, messages = Mcap(), painted_messages(3, labels=False)[1::2]
    records = mcap.describe(IMAGE_TOPIC, COMPRESSED_IMAGE)
    chunks = [mcap.chunk(mcap.message(*message)) for message in messages]
    if damage == "checksum":
        chunks[1] = mcap.chunk(mcap.message(*messages[1]), checksum=7)
    elif damage == "size":
        chunks[1] = chunks[1][:25] + struct.pack("<Q", 3) + chunks[1][33:]
    elif damage == "declared":
        chunks[1] = chunks[1][:25] + struct.pack("<Q", 1 << 62) + chunks[1][33:]
    else:
        chunks[1] = mcap.record(6, struct.pack("<QQQI", 0, 0, 9, 0) + mcap.text("br") + struct.pack("<Q", 1) + b"x")
    found, warnings = image_stamps(mcap.write(tmp_path / "bag.mcap", records, *chunks))
    assert found == [stamp_ns(0), stamp_ns(2)]
    assert len(warnings) == 1
    assert "bag.mcap is damaged; 2 messages in it are used" in warnings[0]
    assert "recover" not in warnings[0]
    assert "reindex" not in warnings[0]


def test_a_chunk_that_unpacks_to_more_than_a_chunk_holds_is_left_out(tmp_path: Path) -> None:
    mcap, (_, image) = Mcap(), painted_messages(1, labels=False)
    bomb = mcap.record(5, bytes(22 + (400 << 20)))
    records = [mcap.describe(IMAGE_TOPIC, COMPRESSED_IMAGE), mcap.chunk(bomb, "zstd"), mcap.message(*image)]
    del bomb
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found, warnings = image_stamps(mcap.write(tmp_path / "bag.mcap", *records))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 300 << 10
    assert found == stamps(1)
    assert "declares" in warnings[0]


def test_channels_of_a_damaged_chunk_come_from_the_end_of_the_file(tmp_path: Path) -> None:
    mcap, messages = Mcap(), painted_messages(3, labels=False)[1::2]
    description = mcap.describe(IMAGE_TOPIC, COMPRESSED_IMAGE)
    chunks = [mcap.chunk(mcap.message(*message)) for message in messages]
    chunks[0] = mcap.chunk(description + mcap.message(*messages[0]), checksum=7)
    data_end = mcap.record(15, bytes(4))
    summary_start = len(mcap.data) + sum(map(len, chunks)) + len(data_end)
    footer = mcap.record(2, struct.pack("<QQI", summary_start, 0, 0)) + mcap.MAGIC
    path = mcap.write(tmp_path / "bag.mcap", *chunks, data_end, description, footer, finished=False)
    found, warnings = image_stamps(path)
    assert found == stamps(3)[1:]
    assert len(warnings) == 1
    # without them, what is left is not anybody's
    with pytest.raises(BagError, match="which nothing describes"), Bag(mcap.write(tmp_path / "bag.mcap", *chunks[1:])):
        pass


def test_messages_that_were_compressed_one_by_one(tmp_path: Path) -> None:
    from backports import zstd
    from support.bag_files import TYPESTORE

    mcap, messages = Mcap(), painted_messages(2, labels=False)[1::2]
    records = [mcap.describe(IMAGE_TOPIC, COMPRESSED_IMAGE)]
    for topic, log_ns, message in messages:
        raw = bytes(TYPESTORE.serialize_cdr(message, message.__msgtype__))
        records.append(mcap.message(topic, log_ns, zstd.compress(raw)))
    assert image_stamps(mcap.write(tmp_path / "bag.mcap", *records)) == (stamps(2), [])
