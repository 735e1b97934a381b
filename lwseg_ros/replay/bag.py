"""Read rosbag2 recordings, SQLite or MCAP, without ROS."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.imaging import messages
from lwseg_ros.imaging.headers import read_header
from lwseg_ros.replay.storage.base import Storage, Stream
from lwseg_ros.replay.storage.compression import unpack_message
from lwseg_ros.replay.storage.files import find_files, open_storage

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# Their definitions have not changed since Foxy, so that what a recording holds of definitions is not needed.
READ_TYPES = {IMAGE, COMPRESSED_IMAGE, CAMERA_INFO}


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, message type and number of messages."""

    name: str
    msgtype: str
    count: int

    @property
    def base(self) -> str:
        """The name without the `/compressed` of image_transport."""
        return self.name.removesuffix("/compressed")

    @property
    def namespace(self) -> str:
        """What a camera's topics have in common: `/front` of `/front/image/compressed`."""
        return self.base.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class BagMessage:
    """One recorded message of an open bag, still serialized.

    Attributes:
        topic: the topic's name.
        msgtype: such as `sensor_msgs/msg/Image`.
        log_ns: when it was recorded, nanoseconds.
        stamp_ns: the header's stamp, nanoseconds.
        bag: the bag that it is read from.
        storage: the file in the bag, and `place` where the message is in it.
    """

    topic: str
    msgtype: str
    log_ns: int
    stamp_ns: int
    bag: Bag
    storage: Storage
    place: tuple[int, ...]

    @property
    def raw(self) -> bytes:
        """The message in CDR, as it goes over the wire; read anew each time. Raises BagError."""
        return self.bag.read(self.storage, self.place)


class Bag:
    """An open recording. A context manager; every failure inside is a BagError that names the bag.

    Opening reads the files once from end to end: what they hold is counted, not what an index says of them. Only images
    and camera_info have to be readable; all topics are listed.

    Attributes:
        path: as given.
        warnings: what of the recording is missing, damaged or not where it should be, as sentences.
    """

    def __init__(self, path: str | Path) -> None:
        """Remember the folder (or single file); `with` opens it."""
        self.path = Path(path)
        self.warnings: list[str] = []
        self._stack = ExitStack()
        self._streams: list[tuple[Storage, Stream]] = []
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)

    def __enter__(self) -> Bag:
        with self._stack, self._translated("cannot be opened"):
            files = find_files(self.path)
            self.warnings, self._streams = list(files.warnings), []
            for file in files.paths:
                self._open(file, is_only_one=len(files.paths) == 1)
            count = sum(stream.count for _, stream in self._streams)
            if files.num_messages is not None and count < files.num_messages:
                self.warnings.append(f"metadata.yaml counts {files.num_messages} messages, the files hold {count}")
            if not self._streams:
                raise BagError(f"the bag {self.path} is empty: it holds no topics. {self._list_warnings()}".strip())
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics by name."""
        topics: dict[str, Topic] = {}
        for _, stream in sorted(self._streams, key=lambda item: (item[1].topic, -item[1].count)):
            if stream.topic in topics and not stream.count:
                continue
            other = topics.get(stream.topic, Topic(stream.topic, stream.msgtype, 0))
            msgtype = stream.msgtype if stream.msgtype == other.msgtype else "several types"
            topics[stream.topic] = Topic(stream.topic, msgtype, other.count + stream.count)
        return topics

    def image_topic(self, requested: str | None = None, *, exclude: str | None = None) -> Topic:
        """Find the camera's topic: the requested one, or the only one that carries images besides labels and `exclude`.

        Raises:
            BagError: it is not there, carries no images, or there are several to choose from.
        """
        if requested is not None:
            return self._require(requested, "image")
        found = [t for t in self.camera_topics() if t.name != exclude]
        if len(found) != 1:
            what = "several image topics; choose one with --topic" if found else "no other image topic"
            raise BagError(f"the bag {self.path} holds {what}. {self._list_topics()}")
        return self._require(found[0].name, "image")

    def label_topic(self, requested: str) -> Topic:
        """Find a topic of ground truth; raises BagError where it is not there or carries no images."""
        return self._require(requested, "label")

    def label_topics(self) -> list[Topic]:
        """List the topics called `.../label`, empty ones too."""
        return [topic for topic in self._image_topics() if _is_label(topic)]

    def camera_topics(self) -> list[Topic]:
        """List the topics that carry images and are not called `.../label`, empty ones too."""
        return [topic for topic in self._image_topics() if not _is_label(topic)]

    def camera_info_topic(self, image_topic: Topic) -> Topic | None:
        """Find the CameraInfo that belongs to an image topic by the naming convention, or None."""
        topic = self.topics.get(f"{image_topic.namespace}/camera_info")
        return topic if topic is not None and topic.msgtype == CAMERA_INFO and topic.count else None

    def messages(self, *topics: Topic) -> Iterator[BagMessage]:
        """Yield the messages of the topics: each topic's in the recorded order, among topics by log time; raises BagError."""
        return heapq.merge(*map(self._messages_of, topics), key=attrgetter("log_ns"))

    def read(self, storage: Storage, place: tuple[int, ...]) -> bytes:
        """Read the bytes of one message; raises BagError."""
        with self._translated("cannot be read to its end"):
            raw = storage.read(place)
            return unpack_message(raw, lambda: raw)

    def deserialize(self, message: BagMessage) -> Any:
        """Turn the bytes into a message object with the fields of the ROS message; raises BagError."""
        with self._translated(f"holds a corrupt message on {message.topic} (stamp {message.stamp_ns} ns)"):
            return self._typestore.deserialize_cdr(message.raw, message.msgtype)

    def image(self, message: BagMessage) -> np.ndarray:
        """Decode a camera image, uint8 BGR [H, W, 3]; raises ImageError, for which the caller counts a bad frame."""
        try:
            decoded = self.deserialize(message)
        except BagError as error:
            raise ImageError(str(error)) from error
        return messages.decode_compressed(decoded) if message.msgtype == COMPRESSED_IMAGE else messages.to_bgr(decoded)

    def image_size(self, message: BagMessage) -> tuple[int, int]:
        """Read height and width of an image without decoding it; raises ImageError."""
        try:
            decoded = self.deserialize(message)
        except BagError as error:
            raise ImageError(str(error)) from error
        if message.msgtype == COMPRESSED_IMAGE:
            _, height, width = read_header(bytes(decoded.data))
            return height, width
        return int(decoded.height), int(decoded.width)

    def label(self, message: BagMessage, *, colored: bool = False) -> np.ndarray:
        """Decode a ground-truth label as it is stored.

        Returns uint8 [H, W] numbers, or with ``colored`` uint8 BGR [H, W, 3] colours. Raises BagError for anything else, a JPEG
        too, whose pixels are not those that were compressed.
        """
        decoded = self.deserialize(message)
        where = f"the label on {message.topic} at {message.stamp_ns} ns"
        try:
            if message.msgtype == COMPRESSED_IMAGE:
                if read_header(bytes(decoded.data)).kind == "jpeg":
                    raise BagError(f"{where} is a JPEG, which changes ids and colours; record labels as PNG or raw")
                label = messages.decode_as_stored(decoded)
                is_plane = label.ndim == 2
            else:
                label = messages.view(decoded)
                is_plane = label.shape == (decoded.height, decoded.width)
                if colored and not is_plane and label.shape[2:] == (3,) and label.dtype == np.uint8:
                    label = messages.to_bgr(decoded)
        except ImageError as error:
            found = " is no image" if message.msgtype == COMPRESSED_IMAGE else ""
            raise BagError(f"{where}{found}: {error}") from error
        if colored and (label.dtype != np.uint8 or label.shape[2:] != (3,)):
            raise BagError(
                f"{where} is {label.dtype} {label.shape}; for a label map of colours it has to be rgb8 or bgr8 (or PNG)"
            )
        if not colored and (not is_plane or label.dtype != np.uint8):
            raise BagError(
                f"{where} is {label.dtype} {label.shape}; it has to be mono8 with one class id a pixel (PNG when compressed); "
                "colours need a --label-map"
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
            raise BagError(
                f"the bag {self.path} is empty: its {purpose} topic {name!r} holds no messages. {self._list_topics()}"
            )
        return topic

    def _image_topics(self) -> list[Topic]:
        return [topic for topic in self.topics.values() if topic.msgtype in (IMAGE, COMPRESSED_IMAGE)]

    def _messages_of(self, topic: Topic) -> Iterator[BagMessage]:
        if topic.msgtype not in READ_TYPES:
            raise BagError(f"{topic.name} carries {topic.msgtype}; read are {', '.join(sorted(READ_TYPES))}")
        for storage, stream in self._streams:
            if stream.topic == topic.name:
                for log_ns, stamp_ns, place in stream.entries:
                    yield BagMessage(topic.name, stream.msgtype, log_ns, stamp_ns, self, storage, place)

    def _open(self, file: Path, *, is_only_one: bool) -> None:
        """Open one file; one of several that cannot be opened is left out."""
        try:
            storage = open_storage(file, READ_TYPES, self._stack)
        except Exception as error:
            reason = str(error) if isinstance(error, BagError) else f"{file.name} cannot be read ({_named(error)})"
            if is_only_one:
                raise BagError(f"the bag {self.path} cannot be opened: {reason}") from error
            self.warnings.append(f"one file is left out: {reason}")
        else:
            self.warnings += storage.warnings
            self._streams += [(storage, stream) for stream in storage.streams]

    def _list_topics(self) -> str:
        topics = ", ".join(f"{t.name} ({t.msgtype}, {t.count})" for t in self.topics.values())
        return f"Topics: {topics}. {self._list_warnings()}".rstrip(". ")

    def _list_warnings(self) -> str:
        return ". ".join(self.warnings)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        # A damaged bag fails in whatever layer meets the damage first (SQLite, struct, zstd, lz4, CDR), so everything
        # that reading raises means the same: this bag cannot be used.
        try:
            yield
        except BagError:
            raise
        except Exception as error:
            raise BagError(f"the bag {self.path} {what} ({_named(error)})") from error


def _is_label(topic: Topic) -> bool:
    return topic.base.rsplit("/", 1)[-1] == "label"


def _named(error: Exception) -> str:
    """Put an error of a lower layer into one line."""
    return f"{type(error).__name__}: {str(error).strip()}".split("\n")[0]
