"""Bags of a camera of any size: the sample bag's images, enlarged, as JPEG or raw."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.replay.bag import COMPRESSED_IMAGE, IMAGE, Bag
from lwseg_ros.replay.sample import SAMPLE_BAG

JPEG_QUALITY = 90
PERIOD_NS = 100_000_000
TYPES = get_typestore(Stores.ROS2_HUMBLE)


def write_camera_bag(folder: Path, size_hw: tuple[int, int], encoding: str, images: int) -> Path:
    """Write a bag into a folder that is made, and return it. encoding: "jpeg", "bgr8" or "rgb8"."""
    height, width = size_hw
    compressed = encoding == "jpeg"
    msgtype = COMPRESSED_IMAGE if compressed else IMAGE
    with Bag(SAMPLE_BAG) as sample, Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = "/camera/image/compressed" if compressed else "/camera/image"
        connection = writer.add_connection(topic, msgtype, typestore=TYPES)
        for index, message in enumerate(islice(sample.messages(sample.image_topic(None)), images)):
            image = cv2.resize(sample.image(message), (width, height), interpolation=cv2.INTER_CUBIC)
            stamp = TYPES.types["builtin_interfaces/msg/Time"](*divmod((index + 1) * PERIOD_NS, 10**9))
            header = TYPES.types["std_msgs/msg/Header"](stamp, "camera")
            if compressed:
                data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].ravel()
                entry = TYPES.types[msgtype](header, "jpeg", data)
            else:
                pixels = image if encoding == "bgr8" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                data = np.ascontiguousarray(pixels).ravel()
                entry = TYPES.types[msgtype](header, height, width, encoding, 0, 3 * width, data)
            writer.write(connection, (index + 1) * PERIOD_NS, TYPES.serialize_cdr(entry, msgtype))
    return folder
