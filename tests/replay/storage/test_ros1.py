"""Bags of ROS 1: their messages as ROS 2 has them, and what becomes of damage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore
from support.bag_files import IMAGE_TOPIC, LABEL_TOPIC, painted_messages, write_messages

from lwseg_ros.errors import BagError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.segmenter import Segmenter

ROS1 = get_typestore(Stores.ROS1_NOETIC)
HUMBLE = get_typestore(Stores.ROS2_HUMBLE)


def ros1_messages(messages: Sequence[tuple[str, int, Any]]) -> list[tuple[str, int, str, bytes]]:
    """(topic, log time in nanoseconds, type, message as ROS 1 writes it) of messages of ROS 2."""
    converted = []
    for topic, log_ns, message in messages:
        cdr = HUMBLE.serialize_cdr(message, message.__msgtype__)
        converted.append((topic, log_ns, message.__msgtype__, bytes(HUMBLE.cdr_to_ros1(cdr, message.__msgtype__))))
    return converted


def write_ros1(path: Path, messages: Sequence[tuple[str, int, Any]], compression: str = "NONE") -> Path:
    writer = Writer(path)
    if compression != "NONE":
        writer.set_compression(Writer.CompressionFormat[compression])
    with writer:
        connections: dict[str, Any] = {}
        for topic, log_ns, msgtype, raw in ros1_messages(messages):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=ROS1)
            writer.write(connections[topic], log_ns, raw)
    return path


@pytest.mark.parametrize("compression", ["NONE", "BZ2", "LZ4"])
def test_it_holds_what_the_bag_of_ros_2_holds(tmp_path: Path, compression: str) -> None:
    messages = painted_messages(3) + painted_messages(5, compressed=False, labels=False)[-2:]
    old, new = write_ros1(tmp_path / "old.bag", messages, compression), write_messages(tmp_path / "new", messages)
    with Bag(old) as one, Bag(new) as other:
        assert one.topics == other.topics
        assert not one.warnings
        for name, topic in one.topics.items():
            found, expected = list(one.messages(topic)), list(other.messages(topic))
            assert [(m.log_ns, m.stamp_ns, m.msgtype) for m in found] == [
                (m.log_ns, m.stamp_ns, m.msgtype) for m in expected
            ]
            for message, another in zip(reversed(found), reversed(expected), strict=True):  # in any order
                assert message.raw == another.raw
                if name != "/cam/camera_info":
                    assert np.array_equal(one.image(message), other.image(another))


def test_it_replays_to_the_figures_of_the_bag_of_ros_2(tmp_path: Path, tiny_model: ModelFile) -> None:
    messages = painted_messages(4)
    old, new = write_ros1(tmp_path / "old.bag", messages, "BZ2"), write_messages(tmp_path / "new", messages)
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        one, other = (replay_offline(bag, segmenter) for bag in (old, new))
    assert np.array_equal(one.evaluator.confusion.counts, other.evaluator.confusion.counts)
    assert one.evaluator.metrics() == other.evaluator.metrics()
    assert (one.image_topic, one.label_topic) == (IMAGE_TOPIC, LABEL_TOPIC)


def test_a_folder_of_them_is_one_recording(tmp_path: Path) -> None:
    messages = painted_messages(4)
    (tmp_path / "drive").mkdir()
    write_ros1(tmp_path / "drive" / "drive_0.bag", messages[:6])
    write_ros1(tmp_path / "drive" / "drive_1.bag", messages[6:])
    with Bag(tmp_path / "drive") as bag:
        assert bag.topics[IMAGE_TOPIC].count == 4


def test_a_bag_that_was_not_finished_says_what_helps(tmp_path: Path) -> None:
    path = write_ros1(tmp_path / "old.bag", painted_messages(3))
    sound = path.read_bytes()
    index = sound.index(b"index_pos=") + len(b"index_pos=")
    path.write_bytes(sound[:index] + bytes(8) + sound[index + 8 :])
    with pytest.raises(BagError, match=r"old\.bag is a ROS 1 bag .*not indexed.*`rosbag reindex old\.bag`"), Bag(path):
        pass
    for length in (0, 8, 12, 13, 100, 4200, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:length])
        with pytest.raises(BagError), Bag(path):
            pass


def test_damaged_messages_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_ros1(tmp_path / "old.bag", painted_messages(3), "BZ2")
    data = bytearray(path.read_bytes())
    first = data.index(b"BZh")
    data[first + 20 : first + 60] = bytes(40)
    path.write_bytes(data)
    with Bag(path) as bag:
        assert bag.warnings == ["old.bag is damaged; 9 messages in it are left out"]
        assert {topic.count for topic in bag.topics.values()} == {0}
