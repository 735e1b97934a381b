"""The bags of ROS 1, format 2.0: their messages come out as ROS 2 has them."""

from __future__ import annotations

import bz2
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import lz4.frame
from rosbags.rosbag1 import Reader, ReaderError
from rosbags.rosbag1.reader import decompressors
from rosbags.typesys import Stores, get_typestore

from lwseg_ros.errors import BagError
from lwseg_ros.replay.storage.base import MAX_BYTES, Entry, Stream, Streams, check_size

MAGIC = b"#ROSBAG V"
_STAMP = struct.Struct("<4xII")  # after the header's sequence number, which ROS 2 has not


class Ros1Storage:
    """An open bag of ROS 1, a `Storage`; it is read by its index, without which rosbags reads none."""

    def __init__(self, path: Path, msgtypes: Collection[str]) -> None:
        """Read the wanted messages once; raises BagError."""
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        self._reader = Reader(path)
        self.warnings: list[str] = []
        try:
            self._reader.open()
        except ReaderError as error:
            raise BagError(
                f"{path.name} is a ROS 1 bag that cannot be read ({error}); `rosbag reindex {path.name}` in ROS 1 may help"
            ) from error
        for position, chunk in self._reader.chunks.items():
            self._reader.chunks[position] = chunk._replace(decompressor=_bounded(chunk.decompressor))
        self._indexes = self._reader.indexes
        streams, num_left_out = Streams(msgtypes), 0
        for number, connection in enumerate(self._reader.connections):
            stream = streams.stream(connection.topic, connection.msgtype, "cdr")
            index = self._indexes[connection.id]
            if not streams.wants(stream):
                stream.count += len(index)
                continue
            num_left_out += len(index) - self._scan(stream, number)
        if num_left_out:
            self.warnings.append(f"{path.name} is damaged; {num_left_out} messages in it are left out")
        self.streams = streams.all()

    def read(self, place: tuple[int, ...]) -> bytes:
        """Read a message, in CDR; raises BagError, and what rosbags raises where it is damaged."""
        number, position = place
        msgtype = self._reader.connections[number].msgtype
        return bytes(self._typestore.ros1_to_cdr(self._raw(number, position), msgtype))

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _scan(self, stream: Stream, number: int) -> int:
        """List the messages of a connection in its stream; returns how many can be read."""
        num_read = 0
        for position, item in enumerate(self._indexes[self._reader.connections[number].id]):
            try:
                sec, nanosec = _STAMP.unpack_from(self._raw(number, position))
            except Exception:  # whatever layer meets the damage first
                continue
            stream.entries.append(Entry(item.time, sec * 10**9 + nanosec, (number, position)))
            num_read += 1
        stream.count += num_read
        return num_read

    def _raw(self, number: int, position: int) -> bytes:
        """Read a message as ROS 1 wrote it."""
        connection = self._reader.connections[number]
        # the reader offers messages in order only, so it is shown an index of the one that is asked for
        self._reader.indexes = {connection.id: [self._indexes[connection.id][position]]}
        _, _, raw = next(self._reader.messages([connection]))
        return raw


def _bounded(decompress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Limit what a chunk takes in memory, whatever it declares."""
    name = next(name for name, known in decompressors.items() if known is decompress)
    makers: dict[str, Callable[[], Any]] = {"bz2": bz2.BZ2Decompressor, "lz4": lz4.frame.LZ4FrameDecompressor}

    def unpack(data: bytes) -> bytes:
        check_size(len(data), "a chunk")
        return bytes(makers[name]().decompress(data, max_length=MAX_BYTES)) if name in makers else data

    return unpack
