"""Read rosbag2 recordings, sqlite3 or MCAP, without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.imaging import messages
from lwseg_ros.replay.cdr import header_stamp_ns

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, message type and number of messages."""

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """One recorded message, still serialized.

    Attributes:
        topic: the topic's name.
        msgtype: such as `sensor_msgs/msg/Image`.
        log_ns: when it was recorded, nanoseconds.
        stamp_ns: the header's stamp, nanoseconds. Only types that begin with a std_msgs/Header are read here.
        raw: the message in CDR, as it goes over the wire.
    """

    topic: str
    msgtype: str
    log_ns: int
    stamp_ns: int
    raw: bytes


class Bag:
    """An open recording. A context manager; every failure inside is a BagError that names the bag."""

    def __init__(self, path: str | Path) -> None:
        """Remember the folder (or single .mcap or .db3 file); `with` opens it."""
        self.path = Path(path)
        self._stack = ExitStack()
        self._reader: Any = None

    def __enter__(self) -> Bag:
        if not self.path.exists():
            raise BagError(
                f"no bag at {self.path}; give the folder that holds metadata.yaml, or one .mcap or .db3 file"
            )
        if self.path.suffix == ".bag":
            raise BagError(f"{self.path} is a ROS 1 bag; convert it with `rosbags-convert --src {self.path} --dst DIR`")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            raise BagError(f"{self.path} holds no metadata.yaml; give a bag's own folder, or `ros2 bag reindex` it")
        with self._translated("cannot be opened"):
            typestore = get_typestore(Stores.ROS2_HUMBLE)  # sqlite3 bags up to Humble hold no definitions
            self._reader = self._stack.enter_context(AnyReader([self.path], default_typestore=typestore))
        if not self.topics:
            self._stack.close()
            raise BagError(f"the bag {self.path} is empty: it holds no topics")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        return {
            name: Topic(name, info.msgtype or "several types", info.msgcount)
            for name, info in sorted(self._reader.topics.items())
        }

    def image_topic(self, requested: str | None = None, *, exclude: str | None = None) -> Topic:
        """Find the camera's topic: the requested one, or the only one that carries images.

        Raises:
            BagError: it is not there, carries no images, or there are several to choose from.
        """
        if requested is not None:
            return self._require(requested, "image")
        found = [t for t in self.topics.values() if t.msgtype in (IMAGE, COMPRESSED_IMAGE) and t.name != exclude]
        if len(found) != 1:
            what = "several image topics; choose one with --topic" if found else "no other image topic"
            raise BagError(f"the bag {self.path} holds {what}. {self._list_topics()}")
        return self._require(found[0].name, "image")

    def label_topic(self, requested: str | None = None) -> Topic | None:
        """Find the ground truth: the requested topic, or the only one called `.../label`, or None.

        Raises:
            BagError: the requested topic is not there or carries no images.
        """
        if requested is not None:
            return self._require(requested, "label")
        found = [
            t
            for t in self.topics.values()
            if t.msgtype in (IMAGE, COMPRESSED_IMAGE)
            and t.name.removesuffix("/compressed").rsplit("/", 1)[-1] == "label"
        ]
        return found[0] if len(found) == 1 and found[0].count else None

    def camera_info_topic(self, image_topic: Topic) -> Topic | None:
        """Find the CameraInfo that belongs to an image topic by the naming convention, or None."""
        namespace = image_topic.name.removesuffix("/compressed").rpartition("/")[0]
        topic = self.topics.get(f"{namespace}/camera_info")
        return topic if topic is not None and topic.msgtype == CAMERA_INFO and topic.count else None

    def messages(self, *topics: Topic) -> Iterator[BagMessage]:
        """Yield the messages of the topics in the recorded order; raises BagError where the bag ends early."""
        names = {topic.name for topic in topics}
        connections = [c for c in self._reader.connections if c.topic in names]
        with self._translated("is truncated or corrupt"):
            stream = self._reader.messages(connections)
        expected, seen = sum(topic.count for topic in topics), 0
        while True:
            with self._translated(f"is truncated or corrupt after {seen} of {expected} messages"):
                item = next(stream, None)
            if item is None:
                break
            connection, log_ns, raw = item
            raw = bytes(raw)
            yield BagMessage(connection.topic, connection.msgtype, log_ns, header_stamp_ns(raw), raw)
            seen += 1
        if seen < expected:
            raise BagError(f"the bag {self.path} is truncated: {seen} of {expected} messages of {sorted(names)}")

    def deserialize(self, message: BagMessage) -> Any:
        """Turn the bytes into a message object with the fields of the ROS message; raises BagError."""
        with self._translated(f"holds a corrupt message on {message.topic} (stamp {message.stamp_ns} ns)"):
            return self._reader.deserialize(message.raw, message.msgtype)

    def image(self, message: BagMessage) -> np.ndarray:
        """Decode a camera image, uint8 BGR [H, W, 3]; raises ImageError, for which the caller counts a bad frame."""
        try:
            decoded = self.deserialize(message)
        except BagError as error:
            raise ImageError(str(error)) from error
        return messages.decode_compressed(decoded) if message.msgtype == COMPRESSED_IMAGE else messages.to_bgr(decoded)

    def label(self, message: BagMessage) -> np.ndarray:
        """Decode a ground-truth label, uint8 [H, W] class ids; raises BagError."""
        decoded = self.deserialize(message)
        if message.msgtype == COMPRESSED_IMAGE:
            try:
                label = cv2.imdecode(np.frombuffer(decoded.data, np.uint8), cv2.IMREAD_UNCHANGED)
            except cv2.error:  # empty, or larger than OpenCV unpacks
                label = None
        else:
            try:
                label = messages.view(decoded)
            except ImageError as error:
                raise BagError(f"the label on {message.topic} at {message.stamp_ns} ns: {error}") from error
        if label is None or label.ndim != 2 or label.dtype != np.uint8:
            found = "no image" if label is None else f"{label.dtype} {label.shape}"
            raise BagError(
                f"the label on {message.topic} at {message.stamp_ns} ns is {found}; "
                "it has to be mono8 with one class id a pixel (PNG when compressed)"
            )
        return label

    def _require(self, name: str, purpose: str) -> Topic:
        topic = self.topics.get(name)
        if topic is None:
            raise BagError(f"the bag {self.path} has no {purpose} topic {name!r}. {self._list_topics()}")
        if topic.msgtype not in (IMAGE, COMPRESSED_IMAGE):
            raise BagError(
                f"the {purpose} topic {name!r} carries {topic.msgtype}; accepted are {IMAGE} and {COMPRESSED_IMAGE}. "
                + self._list_topics()
            )
        if not topic.count:
            raise BagError(f"the bag {self.path} is empty: its {purpose} topic {name!r} holds no messages")
        return topic

    def _list_topics(self) -> str:
        return "Topics: " + ", ".join(f"{t.name} ({t.msgtype}, {t.count})" for t in self.topics.values())

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        # A damaged bag fails in whatever layer meets the damage first (YAML, SQLite, struct, zstd, lz4, CDR), so
        # everything that reading raises means the same: this bag cannot be used.
        try:
            yield
        except (BagError, GeneratorExit):
            raise
        except Exception as error:
            detail = str(error).strip().split("\n")[0]
            raise BagError(
                f"the bag {self.path} {what} ({type(error).__name__}: {detail}); "
                "if the recording was cut off, `mcap recover` or `ros2 bag reindex` may save the rest"
            ) from error
