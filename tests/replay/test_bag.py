"""Reading bags: both storages, and everything that can be wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from backports import zstd
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bag_files import (
    COMPRESSED_IMAGE,
    IMAGE,
    IMAGE_TOPIC,
    LABEL_TOPIC,
    TYPES,
    TYPESTORE,
    header,
    image_message,
    jpeg_message,
    painted_messages,
    stamp_ns,
    write_messages,
)
from support.tiny_model import painted_image

from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.replay.bag import Bag, Topic


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("single_file", [False, True])
def test_images_and_labels_come_back(tmp_path: Path, storage: StoragePlugin, single_file: bool) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(3), storage)
    if single_file:
        path = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    image, label = painted_image((48, 64), seed=3)
    with Bag(path) as bag:
        [truth] = bag.label_topics()
        assert truth == Topic(LABEL_TOPIC, IMAGE, 3)
        topic = bag.image_topic()
        assert topic == Topic(IMAGE_TOPIC, COMPRESSED_IMAGE, 3)
        info = bag.camera_info_topic(topic)
        assert info is not None
        assert info.name == "/cam/camera_info"
        images = list(bag.messages(topic))
        assert [message.stamp_ns for message in images] == [stamp_ns(index) for index in range(3)]
        assert [message.log_ns for message in images] == [stamp_ns(index) for index in range(3)]
        decoded = cv2.imdecode(jpeg_message(image, 0).data, cv2.IMREAD_COLOR)
        assert np.array_equal(bag.image(images[0]), decoded)
        assert all(np.array_equal(bag.label(message), label) for message in bag.messages(truth))
        assert len(list(bag.messages(topic, truth))) == 6


def test_raw_images_and_png_labels(tmp_path: Path) -> None:
    image, label = painted_image((48, 64))
    ok, png = cv2.imencode(".png", label)
    assert ok
    messages = [
        ("/cam/image", 5, image_message(image, 5)),
        ("/cam/label/compressed", 5, TYPES[COMPRESSED_IMAGE](header(5), "mono8; png compressed", png)),
    ]
    with Bag(write_messages(tmp_path / "bag", messages)) as bag:
        [truth] = bag.label_topics()
        topic = bag.image_topic()
        assert np.array_equal(bag.image(next(bag.messages(topic))), image)
        assert np.array_equal(bag.label(next(bag.messages(truth))), label)
        assert bag.camera_info_topic(topic) is None


def test_missing_or_wrong_topics_list_what_there_is(tmp_path: Path) -> None:
    with Bag(write_messages(tmp_path / "bag", painted_messages(1))) as bag:
        with pytest.raises(BagError, match=r"no image topic '/front/image'\. Topics: /cam/camera_info \(sensor_msgs/"):
            bag.image_topic("/front/image")
        with pytest.raises(BagError, match=r"no label topic '/truth'\. Topics: "):
            bag.label_topic("/truth")
        with pytest.raises(BagError, match="'/cam/camera_info' carries sensor_msgs/msg/CameraInfo; accepted are"):
            bag.image_topic("/cam/camera_info")
        with pytest.raises(BagError, match="holds no other image topic"):
            bag.image_topic(exclude=IMAGE_TOPIC)
    two_cameras = [(f"/{name}/image", 1, image_message(painted_image((48, 64))[0], 1)) for name in ("front", "rear")]
    with Bag(write_messages(tmp_path / "two", two_cameras)) as bag:
        with pytest.raises(BagError, match=r"several image topics; choose one with --topic\. Topics: "):
            bag.image_topic()
        assert bag.image_topic(exclude="/front/image").name == "/rear/image"
    with Bag(write_messages(tmp_path / "infos", painted_messages(1)[:1])) as bag:
        assert not bag.label_topics()
        with pytest.raises(BagError, match="holds no other image topic"):
            bag.image_topic()


def test_paths_that_are_no_bag(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"no bag at .*nowhere; give the folder"), Bag(tmp_path / "nowhere"):
        pass
    with pytest.raises(BagError, match=r"holds no metadata\.yaml"), Bag(tmp_path):
        pass
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(BagError, match="is a ROS 1 bag that cannot be read"), Bag(tmp_path / "old.bag"):
        pass


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_empty_bags(tmp_path: Path, storage: StoragePlugin) -> None:
    with Writer(tmp_path / "bag", version=8, storage_plugin=storage):
        pass
    with pytest.raises(BagError, match=r"bag .*bag is empty: it holds no topics"), Bag(tmp_path / "bag"):
        pass


def test_a_topic_without_messages(tmp_path: Path) -> None:
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        writer.add_connection(IMAGE_TOPIC, COMPRESSED_IMAGE, typestore=TYPESTORE)
    with Bag(tmp_path / "bag") as bag, pytest.raises(BagError, match=r"is empty: its image topic .* holds no messages"):
        bag.image_topic()


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.9])
def test_truncated_bags_are_read_in_part_and_say_so_or_are_refused(
    tmp_path: Path, storage: StoragePlugin, kept: float
) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(40), storage)
    data = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    whole = data.read_bytes()
    data.write_bytes(whole[: int(len(whole) * kept)])

    def read_all() -> int:
        with Bag(path) as bag:
            images = [bag.image(message) for message in bag.messages(bag.image_topic(exclude=LABEL_TOPIC))]
            assert "the recording was cut off" in bag.warnings[0]
            return len(images)

    if storage is StoragePlugin.SQLITE3 or not kept:
        with pytest.raises(BagError, match=r"the bag .*bag cannot be opened: bag\.(db3|mcap) (was cut off|is empty)"):
            read_all()
    else:
        assert abs(read_all() - 40 * kept) < 5


def test_corrupt_metadata(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(1))
    (path / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    with pytest.raises(BagError, match=r"the bag .*bag cannot be opened"), Bag(path):
        pass


def test_corrupt_messages(tmp_path: Path) -> None:
    image, label = painted_image((48, 64))
    broken_jpeg = jpeg_message(image, 1)
    broken_jpeg = TYPES[COMPRESSED_IMAGE](header(1), "jpeg", np.asarray(broken_jpeg.data)[:200])
    colour_label = image_message(image, 2)
    short_label = TYPES[IMAGE](header(3), 48, 64, "mono8", 0, 64, label.ravel()[:-1])
    messages = [(IMAGE_TOPIC, 1, broken_jpeg), (LABEL_TOPIC, 2, colour_label), (LABEL_TOPIC, 3, short_label)]
    with Bag(write_messages(tmp_path / "bag", messages)) as bag:
        [truth] = bag.label_topics()
        with pytest.raises(ImageError):
            bag.image(next(bag.messages(bag.image_topic())))
        colour, short = bag.messages(truth)
        with pytest.raises(BagError, match=r"label on /cam/label at 2 ns is uint8 \(48, 64, 3\); it has to be mono8"):
            bag.label(colour)
        with pytest.raises(BagError, match=r"label on /cam/label at 3 ns: .*3071 bytes"):
            bag.label(short)


def test_an_empty_compressed_label(tmp_path: Path) -> None:
    empty = TYPES[COMPRESSED_IMAGE](header(1), "mono8; png compressed", np.zeros(0, np.uint8))
    with Bag(write_messages(tmp_path / "bag", [("/cam/label/compressed", 1, empty)])) as bag:
        [truth] = bag.label_topics()
        with pytest.raises(BagError, match=r"label on /cam/label/compressed at 1 ns is no image"):
            bag.label(next(bag.messages(truth)))


WHOLE = bytes(TYPESTORE.serialize_cdr(jpeg_message(painted_image((48, 64))[0], 9), COMPRESSED_IMAGE))


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0",
        b"\0\1\0",
        b"\0\1\0\0" + bytes(7),
        zstd.compress(WHOLE)[:3],
        zstd.compress(WHOLE)[:4],
        zstd.compress(WHOLE)[:10],
        zstd.compress(b""),
        zstd.compress(b"\0\1\0\0" + bytes(7)),
        zstd.compress(WHOLE)[:6] + b"\xff" * 200,
        zstd.compress(WHOLE)[:-4] + b"\xff" * 4,
    ],
    ids=[
        "nothing",
        "1 byte",
        "3 bytes",
        "11 bytes",
        "part of zstd's magic",
        "zstd's magic",
        "zstd cut off",
        "zstd of nothing",
        "zstd of 11 bytes",
        "zstd damaged at its start",
        "zstd damaged at its end",
    ],
)
def test_a_message_without_a_whole_header_is_left_out(tmp_path: Path, storage: StoragePlugin, raw: bytes) -> None:
    with Writer(tmp_path / "bag", version=8, storage_plugin=storage) as writer:
        images = writer.add_connection(IMAGE_TOPIC, COMPRESSED_IMAGE, typestore=TYPESTORE)
        for log_ns, data in enumerate([raw, WHOLE, raw, zstd.compress(WHOLE), raw]):
            writer.write(images, log_ns, data)
    with Bag(tmp_path / "bag") as bag:
        topic = bag.image_topic()
        messages = list(bag.messages(topic))
        assert topic.count == 2
        assert [(message.log_ns, message.stamp_ns, message.raw) for message in messages] == [
            (1, 9, WHOLE),
            (3, 9, WHOLE),
        ]
        (damage,) = (warning for warning in bag.warnings if "is damaged" in warning)
        assert re.search(r"3 messages in it are left out|left out is .*, and 2 more places", damage)


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_topic_of_messages_without_headers_alone(tmp_path: Path, storage: StoragePlugin) -> None:
    with Writer(tmp_path / "bag", version=8, storage_plugin=storage) as writer:
        writer.write(writer.add_connection(IMAGE_TOPIC, COMPRESSED_IMAGE, typestore=TYPESTORE), 1, b"\0\1\0\0")
    with Bag(tmp_path / "bag") as bag, pytest.raises(BagError, match=r"holds no messages.*is damaged.*left out"):
        bag.image_topic()
