"""Small real bags, painted in the colours that the tiny model knows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import lz4.frame
import numpy as np
from backports import zstd
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from support.tiny_model import painted_image

TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = TYPESTORE.types
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_TOPIC, LABEL_TOPIC = "/cam/image/compressed", "/cam/label"
PERIOD_NS = 66_666_667
SIZE_HW = (48, 64)


def header(stamp_ns: int) -> Any:
    return TYPES["std_msgs/msg/Header"](TYPES["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), "cam")


def jpeg_message(image: np.ndarray, stamp_ns: int) -> Any:
    ok, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    return TYPES[COMPRESSED_IMAGE](header(stamp_ns), "bgr8; jpeg compressed bgr8", jpeg)


def image_message(pixels: np.ndarray, stamp_ns: int) -> Any:
    height, width = pixels.shape[:2]
    encoding = "mono8" if pixels.ndim == 2 else "bgr8"
    step = width if pixels.ndim == 2 else width * 3
    return TYPES[IMAGE](header(stamp_ns), height, width, encoding, 0, step, pixels.ravel())


def camera_info_message(size_hw: tuple[int, int], stamp_ns: int) -> Any:
    roi = TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    k, p = np.eye(3).ravel(), np.eye(3, 4).ravel()
    return TYPES["sensor_msgs/msg/CameraInfo"](header(stamp_ns), *size_hw, "", np.zeros(0), k, k, p, 0, 0, roi)


def write_messages(
    path: Path, messages: Sequence[tuple[str, int, Any]], storage: StoragePlugin = StoragePlugin.MCAP
) -> Path:
    """Write (topic, log time in nanoseconds, message) in order."""
    with Writer(path, version=8, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        for topic, log_ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=TYPESTORE)
            writer.write(connections[topic], log_ns, TYPESTORE.serialize_cdr(message, message.__msgtype__))
    return path


def stamp_ns(index: int) -> int:
    return 1_000_000_000 + index * PERIOD_NS


def painted_messages(
    num_frames: int, *, size_hw: tuple[int, int] = SIZE_HW, labels: bool = True, compressed: bool = True
) -> list[tuple[str, int, Any]]:
    """Paint images and their labels; every frame shows the same scene with other noise, so nothing moves."""
    messages: list[tuple[str, int, Any]] = []
    for index in range(num_frames):
        image, label = painted_image(size_hw, seed=3)
        image = np.clip(image.astype(int) + index % 3, 0, 255).astype(np.uint8)
        stamp = stamp_ns(index)
        image = jpeg_message(image, stamp) if compressed else image_message(image, stamp)
        topic = IMAGE_TOPIC if compressed else IMAGE_TOPIC.removesuffix("/compressed")
        messages += [("/cam/camera_info", stamp, camera_info_message(size_hw, stamp)), (topic, stamp, image)]
        if labels:
            messages.append((LABEL_TOPIC, stamp, image_message(label, stamp)))
    return messages


class Mcap:
    """An MCAP file, record by record, so that any of them can be left out or be wrong."""

    MAGIC = b"\x89MCAP0\r\n"

    def __init__(self, profile: str = "ros2") -> None:
        self.data = self.MAGIC + self.record(1, self.text(profile) + self.text("test"))
        self.channels: dict[str, int] = {}

    @staticmethod
    def text(value: str | bytes) -> bytes:
        content = value.encode() if isinstance(value, str) else value
        return struct.pack("<I", len(content)) + content

    @staticmethod
    def record(opcode: int, content: bytes) -> bytes:
        return struct.pack("<BQ", opcode, len(content)) + content

    def describe(
        self, topic: str, msgtype: str, *, schema: str = "ros2msg", definition: str = "", encoding: str = "cdr"
    ) -> bytes:
        """Return the records of a schema and of a channel, which the caller puts somewhere."""
        number = self.channels[topic] = len(self.channels) + 1
        key = struct.pack("<H", number)
        return self.record(3, key + self.text(msgtype) + self.text(schema) + self.text(definition)) + self.record(
            4, key + key + self.text(topic) + self.text(encoding) + self.text("")
        )

    def message(self, topic: str, log_ns: int, message: Any) -> bytes:
        raw = message if isinstance(message, bytes) else bytes(TYPESTORE.serialize_cdr(message, message.__msgtype__))
        return self.record(5, struct.pack("<HIQQ", self.channels[topic], 0, log_ns, log_ns) + raw)

    def chunk(self, records: bytes, compression: str = "", *, checksum: int | None = None) -> bytes:
        """Return a chunk without the message indexes that follow it elsewhere."""
        packed = {"": bytes, "lz4": lz4.frame.compress, "zstd": zstd.compress}[compression](records)
        checksum = zlib.crc32(records) if checksum is None else checksum
        head = struct.pack("<QQQI", 0, 0, len(records), checksum) + self.text(compression)
        return self.record(6, head + struct.pack("<Q", len(packed)) + packed)

    def write(self, path: Path, *records: bytes, finished: bool = True) -> Path:
        end = self.record(15, bytes(4)) + self.record(2, bytes(20)) + self.MAGIC if finished else b""
        path.write_bytes(self.data + b"".join(records) + end)
        return path


def mcap_of(path: Path, messages: Sequence[tuple[str, int, Any]], *, chunk_messages: int = 3, **options: Any) -> Path:
    """Write messages in chunks, without any index; options are those of `Mcap.chunk` and, for `finished`, `Mcap.write`."""
    mcap, finished = Mcap(), options.pop("finished", True)
    types = {topic: message.__msgtype__ for topic, _, message in messages}
    description = b"".join(mcap.describe(topic, msgtype) for topic, msgtype in types.items())
    written = [mcap.message(*message) for message in messages]
    groups = [b"".join(written[start : start + chunk_messages]) for start in range(0, len(written), chunk_messages)]
    chunks = [mcap.chunk(records, **options) for records in [description + groups[0], *groups[1:]]]
    return mcap.write(path, *chunks, finished=finished)
