"""Record predictions beside the images they are of, for RViz and Foxglove: one MCAP file, there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.imaging import drawing
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import IMAGE, Bag, Topic
from lwseg_ros.replay.pairing import Frame

# The node's own names, so that what shows the node shows the recording.
LABEL, UNCERTAINTY, OVERLAY = "/segment/label", "/segment/uncertainty", "/segment/overlay"
ACCEPTED = "/segment/accepted"


class RecordError(LwsegError):
    """Predictions cannot be recorded."""


class PredictionRecorder:
    """Writes the node's `~/label` and `~/uncertainty` (mono8) and `~/overlay` (bgr8) beside image, camera_info and ground truth,
    and where the model has an acceptance `~/accepted` (mono8).

    The predictions carry header and log time of their image; chunks are compressed with zstd. A context manager: the file is
    in its place once the `with` block has ended without an error, and one that was there before stays until then.
    """

    def __init__(self, path: Path, bag: Bag, image_topic: Topic, manifest: Manifest) -> None:
        """Prepare to record what is predicted of a topic of an open bag; `with` begins the file."""
        self._path = path
        self._bag = bag
        self._image_topic = image_topic
        self._palette_bgr = manifest.palette_bgr
        self._acceptance = manifest.accepted_pixels()
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        self._connections: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> PredictionRecorder:
        with self._stack, translated(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            folder = self._stack.enter_context(temporary_folder(f".{self._path.name}.", self._path.parent)) / "bag"
            self._written = folder / "bag.mcap"
            self._writer = Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP)
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
            self._stack.callback(self._writer.abort)  # without effect where it is closed
            self._copy_camera_info()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack, translated(self._path):
            if kind is None:
                self._writer.close()
                self._written.replace(self._path)

    def add(self, frame: Frame, image: np.ndarray, prediction: Prediction) -> None:
        """Write a frame and its prediction.

        Args:
            frame: with its image, and its ground truth where there is one.
            image: that image, uint8 BGR [H, W, 3].
            prediction: label and uncertainty, uint8 [H, W].

        Raises:
            RecordError: it cannot be written, for want of room for example.
            BagError: the bag cannot be read.
        """
        log_ns = frame.image.log_ns
        originals = [frame.image, *([frame.ground_truth] if frame.ground_truth else [])]
        copies = [(message.topic, message.msgtype, message.raw) for message in originals]
        header = self._bag.deserialize(frame.image).header
        pictures = {LABEL: prediction.label, OVERLAY: drawing.overlay(image, prediction.label, self._palette_bgr)}
        if prediction.uncertainty is not None:
            pictures[UNCERTAINTY] = prediction.uncertainty
            if self._acceptance is not None:
                pictures[ACCEPTED] = self._acceptance.accepted(prediction.label, prediction.uncertainty)
        with translated(self._path):
            for topic, msgtype, raw in copies:
                self._write(topic, msgtype, log_ns, raw)
            for topic, picture in pictures.items():
                self._write(topic, IMAGE, log_ns, self._image(header, picture))

    def _image(self, header: Any, picture: np.ndarray) -> bytes:
        height, width = picture.shape[:2]
        encoding, channels = ("mono8", 1) if picture.ndim == 2 else ("bgr8", 3)
        message = self._typestore.types[IMAGE](
            header, height, width, encoding, 0, width * channels, np.ascontiguousarray(picture).ravel()
        )
        return bytes(self._typestore.serialize_cdr(message, IMAGE))

    def _copy_camera_info(self) -> None:
        topic = self._bag.camera_info_topic(self._image_topic)
        if topic is not None:
            for message in self._bag.messages(topic):
                self._write(message.topic, message.msgtype, message.log_ns, message.raw)

    def _write(self, topic: str, msgtype: str, log_ns: int, raw: bytes) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, msgtype, typestore=self._typestore)
        self._writer.write(self._connections[topic], log_ns, raw)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an OSError into a RecordError that names the file that is recorded to."""
    try:
        yield
    except OSError as error:
        raise RecordError(f"cannot record to {path}: {error.strerror}; choose another file with --record") from error
