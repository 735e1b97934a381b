"""What went out and what came back in a live replay."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.errors import ImageError, LwsegError
from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.imaging import messages
from lwseg_ros.replay.bag import IMAGE, Bag, Topic
from lwseg_ros.replay.cdr import HEADER_BYTES, header_stamp_ns
from lwseg_ros.replay.storage.base import MIN_FREE_BYTES

DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
KINDS = ("label", "uncertainty", "inference_time", "diagnostics")


@dataclass(frozen=True)
class Published:
    """An image that went out: its index in the bag, its stamp on the wire, and when (CLOCK_MONOTONIC)."""

    index: int
    stamp_ns: int
    publish_ns: int


@dataclass(frozen=True)
class Received:
    """A message that arrived: when (CLOCK_MONOTONIC) and where it lies in the spool."""

    receive_ns: int
    offset: int
    size: int


def spool_bytes(bag: Bag, image: Topic) -> int:
    """Estimate what the answers to a topic's images take: label and uncertainty, a byte a pixel each, of images like the first.

    Raises BagError; 0 where that image cannot be decoded.
    """
    try:
        height, width, _ = bag.image(next(bag.messages(image))).shape
    except ImageError:
        return 0
    return 2 * height * width * image.count


def check_spool(folder: Path, num_bytes: int) -> None:
    """Raise SpoolError where a folder has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free - num_bytes < MIN_FREE_BYTES:
        raise SpoolError(
            f"the node's answers take about {num_bytes / 1e9:.1f} GB until they are evaluated, and {folder.parent} has "
            f"{free / 1e9:.1f} GB free, of which {MIN_FREE_BYTES / 1e9:.1f} GB are to stay so; name a larger folder with --spool"
        )


class SpoolError(LwsegError):
    """There is no room for what a node answers."""


class LiveRecording:
    """What went out and what came back. Reads the spool file, so it lives as long as that."""

    def __init__(self, spool: Path) -> None:
        """Start with nothing published and nothing received."""
        self.published: list[Published] = []
        self.received: dict[str, list[Received]] = {kind: [] for kind in KINDS}
        self.spool = spool
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        self._by_stamp: dict[str, dict[int, Received]] = {}

    def index(self) -> None:
        """Sort the received images by stamp, once everything has arrived."""
        for kind in ("label", "uncertainty"):
            self._by_stamp[kind] = {
                header_stamp_ns(self._raw(item, HEADER_BYTES)): item for item in self.received[kind]
            }

    def prediction(self, index: int) -> Prediction | None:
        """Read what came back for the bag's image number `index`, or None where nothing did."""
        stamp_ns = self.published[index].stamp_ns if index < len(self.published) else -1
        label, uncertainty = (self._by_stamp[kind].get(stamp_ns) for kind in ("label", "uncertainty"))
        if label is None:
            return None
        return Prediction(self._image(label), None if uncertainty is None else self._image(uncertainty))

    @property
    def num_answered(self) -> int:
        """Number of published images whose label came back."""
        return sum(item.stamp_ns in self._by_stamp["label"] for item in self.published)

    @property
    def latencies_ms(self) -> list[float | None]:
        """Milliseconds from publishing to receiving the label, one per published image; None where none came."""
        arrivals = [self._by_stamp["label"].get(item.stamp_ns) for item in self.published]
        return [
            None if arrival is None else (arrival.receive_ns - item.publish_ns) / 1e6
            for item, arrival in zip(self.published, arrivals, strict=True)
        ]

    @property
    def rate_hz(self) -> float:
        """Labels received per second; nan for fewer than two."""
        arrivals = [item.receive_ns for item in self.received["label"]]
        return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 1e9 if len(arrivals) > 1 else float("nan")

    @property
    def inference_ms(self) -> list[float]:
        """The node's own time for each inference, in milliseconds."""
        return [float(np.frombuffer(self._raw(item)[-8:], np.float64)[0]) for item in self.received["inference_time"]]

    def diagnostics(self, item: Received) -> dict[str, str]:
        """Read all key-value pairs of one diagnostics message."""
        array: Any = self._typestore.deserialize_cdr(self._raw(item), DIAGNOSTICS)
        return {pair.key: pair.value for status in array.status for pair in status.values}

    def last_diagnostics(self) -> dict[str, str]:
        """Read the latest value of every key that the node ever reported."""
        values: dict[str, str] = {}
        for item in self.received["diagnostics"]:
            values.update(self.diagnostics(item))
        return values

    def _raw(self, item: Received, size: int | None = None) -> bytes:
        with self.spool.open("rb") as spool:
            spool.seek(item.offset)
            return spool.read(item.size if size is None else size)

    def _image(self, item: Received) -> np.ndarray:
        message: Any = self._typestore.deserialize_cdr(self._raw(item), IMAGE)
        return messages.view(message)
