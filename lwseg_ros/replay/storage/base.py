"""What both storages offer, and how much of a file is taken into memory at once."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from lwseg_ros.errors import BagError
from lwseg_ros.host.terminal import visible

# Of a message, and of a chunk of them: a bgr8 image of 9000 x 9000 fits. What a damaged file declares may be anything.
MAX_BYTES = 256 << 20
MIN_FREE_BYTES = 1 << 30  # that stay free where files are copied or unpacked to


class Entry(NamedTuple):
    """A recorded message: log time and header's stamp in nanoseconds, and the place where its storage finds it."""

    log_ns: int
    stamp_ns: int
    place: tuple[int, ...]


@dataclass
class Stream:
    """The messages of one topic and type in one file, in the order in which they were written.

    Attributes:
        topic: its name.
        msgtype: such as `sensor_msgs/msg/Image`; of messages in another encoding than CDR `State as json`.
        count: number of messages, without those that are left out.
        entries: all of them where the type is one that was asked for, else empty.
    """

    topic: str
    msgtype: str
    count: int = 0
    entries: list[Entry] = field(default_factory=list)


class Storage(Protocol):
    """One open file of a recording; its class is opened with the path and the types whose messages are wanted.

    Attributes:
        streams: what the file holds.
        warnings: what of it could not be read, as sentences.
    """

    streams: list[Stream]
    warnings: list[str]

    def read(self, place: tuple[int, ...]) -> bytes:
        """Read the message at an entry's place."""

    def close(self) -> None:
        """Close the file."""


class Streams:
    """Collects the streams of one file, and the messages of the wanted types in them."""

    def __init__(self, msgtypes: Collection[str]) -> None:
        """Start with none; entries are kept of these types."""
        self._msgtypes = msgtypes
        self._streams: dict[tuple[str, str], Stream] = {}

    def stream(self, topic: str, msgtype: str, encoding: str) -> Stream:
        """Find or add the stream of a topic, whose messages are in an encoding such as `cdr`; control characters become visible."""
        topic, msgtype, encoding = visible(topic), visible(msgtype), visible(encoding)
        if encoding != "cdr":
            msgtype = f"{msgtype} as {encoding or 'something unknown'}"
        return self._streams.setdefault((topic, msgtype), Stream(topic, msgtype))

    def wants(self, stream: Stream) -> bool:
        """Tell whether entries of the stream are kept."""
        return stream.msgtype in self._msgtypes

    def all(self) -> list[Stream]:
        """List the streams in the order in which they were added."""
        return list(self._streams.values())


def check_size(num_bytes: int, what: str) -> None:
    """Raise BagError where more bytes would be taken into memory than MAX_BYTES."""
    if num_bytes > MAX_BYTES:
        raise BagError(f"{what} declares {num_bytes} bytes; up to {MAX_BYTES} are read")


def check_room(folder: Path, num_bytes: int, what: str) -> None:
    """Raise BagError where fewer than MIN_FREE_BYTES would stay free once so many bytes are written to a folder."""
    free = shutil.disk_usage(folder).free
    if free - num_bytes < MIN_FREE_BYTES:
        raise BagError(
            f"{what} has no room in {folder}: {num_bytes} bytes more would leave less than {MIN_FREE_BYTES} of the {free} "
            "that are free; set TMPDIR to a folder with more"
        )
