"""Make the sample bag from the CamVid validation clip: `python tools/make_sample_bag.py --data CAMVID_DIR -o BAG_DIR`.

The same images give the same messages. The images become JPEG (so that the bag is small enough to ship), the labels
stay lossless: mono8 images, packed with the chunks of the MCAP file.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.datasets import load_split, read_pair
from lwseg_ros.errors import DatasetError, LwsegError

JPEG_QUALITY = 95
FRAME_ID = "camera"
SEQUENCE_RATE_HZ = 30  # CamVid numbers its frames at 30 Hz; the validation clip holds every second one

# CamVid's camera was not published with this split. This is a pinhole with a 50 degree horizontal field of view, square
# pixels and no distortion: near enough to look at, not a calibration.
HORIZONTAL_FOV_DEG = 50.0

TYPESTORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = TYPESTORE.types
TOPICS = (
    ("/camera/camera_info", "sensor_msgs/msg/CameraInfo"),
    ("/camera/image/compressed", "sensor_msgs/msg/CompressedImage"),
    ("/camera/label", "sensor_msgs/msg/Image"),
)


def header(stamp_ns: int) -> object:
    """Make a std_msgs/Header of the camera's frame."""
    time = TYPES["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 1_000_000_000))
    return TYPES["std_msgs/msg/Header"](time, FRAME_ID)


def compressed_image(image: np.ndarray, stamp_ns: int) -> object:
    """Make a sensor_msgs/CompressedImage from uint8 BGR [H, W, 3]."""
    ok, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise DatasetError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return TYPES["sensor_msgs/msg/CompressedImage"](header(stamp_ns), "bgr8; jpeg compressed bgr8", jpeg)


def label_image(label: np.ndarray, stamp_ns: int) -> object:
    """Make a mono8 sensor_msgs/Image from uint8 [H, W] class ids."""
    height, width = label.shape
    return TYPES["sensor_msgs/msg/Image"](header(stamp_ns), height, width, "mono8", 0, width, label.ravel())


def camera_info(size_hw: tuple[int, int], stamp_ns: int) -> object:
    """Make a sensor_msgs/CameraInfo for the approximate pinhole."""
    height, width = size_hw
    focal = width / 2 / np.tan(np.radians(HORIZONTAL_FOV_DEG / 2))
    k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    p = np.hstack([k, np.zeros((3, 1))])
    roi = TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header(stamp_ns), height, width, "plumb_bob", np.zeros(5), k.ravel(), np.eye(3).ravel(), p.ravel(), 0, 0, roi
    )


def frame_stamp_ns(path: Path) -> int:
    """Read a frame's time in its sequence from its name, such as 0016E5_07959.png."""
    match = re.fullmatch(r"\w+_(\d+)", path.stem)
    if match is None:
        raise DatasetError(f"{path.name} is not called SEQUENCE_NUMBER.png, so the time of the frame is unknown")
    return int(match[1]) * 1_000_000_000 // SEQUENCE_RATE_HZ


def make(data: Path, split_name: str, bag: Path) -> int:
    """Write the bag, replacing one that is there, and return its number of frames."""
    split = load_split("camvid", data, split_name)
    bag.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bag.parent) as folder:
        fresh = Path(folder) / bag.name
        writer = Writer(fresh, version=8, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connections = [writer.add_connection(*topic, typestore=TYPESTORE) for topic in TOPICS]
            for image_path, label_path in split.pairs:
                image, label = read_pair(image_path, label_path)
                stamp_ns = frame_stamp_ns(image_path)
                messages = (
                    camera_info(label.shape, stamp_ns),
                    compressed_image(image, stamp_ns),
                    label_image(label, stamp_ns),
                )
                for connection, message in zip(connections, messages, strict=True):
                    writer.write(connection, stamp_ns, TYPESTORE.serialize_cdr(message, connection.msgtype))
        bag.mkdir(exist_ok=True)
        for file in fresh.iterdir():
            file.replace(bag / file.name)
    return len(split.pairs)


def main() -> int:
    """Parse the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the CamVid folder")
    parser.add_argument("--split", default="val", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, default=Path("lwseg_ros/assets/camvid_val_clip"))
    args = parser.parse_args()
    try:
        frames = make(args.data, args.split, args.output)
    except LwsegError as error:
        print(f"make_sample_bag: {error}", file=sys.stderr)
        return 1
    size_mb = sum(file.stat().st_size for file in args.output.iterdir()) / 1e6
    print(f"{args.output}: {frames} frames, {size_mb:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
