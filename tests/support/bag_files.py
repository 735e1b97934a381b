"""Small real bags, painted in the colours that the tiny model knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
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
