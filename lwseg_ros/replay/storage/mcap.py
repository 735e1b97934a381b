"""MCAP, read from its first record to its last: https://mcap.dev/spec

Indexes, statistics and profile are not needed and not asked, so that a file whose writer left them out, or was killed
before it wrote them, is read as far as it goes.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from lz4.frame import LZ4FrameDecompressor

from lwseg_ros.errors import BagError
from lwseg_ros.replay.cdr import HEADER_BYTES, header_stamp_ns
from lwseg_ros.replay.storage.base import MAX_BYTES, Entry, Stream, Streams, check_size
from lwseg_ros.replay.storage.compression import unpack_message, unpack_zstd

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 2, 3, 4, 5, 6, 15
FOOTER_BYTES = 9 + 20 + len(MAGIC)
MAX_DESCRIPTION_BYTES = 1 << 16  # of a schema or channel: its names come first
MAX_CACHE_BYTES = 64 << 20
IN_FILE = -1  # where a message is not in a chunk


class _IncompleteError(Exception):
    """A record reaches beyond the end of what holds it."""

    def __init__(self, position: int, opcode: int) -> None:
        super().__init__(position, opcode)
        self.position, self.opcode = position, opcode


class McapStorage:
    """An open MCAP file, a `Storage`."""

    def __init__(self, path: Path, msgtypes: Collection[str]) -> None:
        """Read the whole file once; raises BagError."""
        self._path = path
        self._file = path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        self._streams = Streams(msgtypes)
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, Stream] = {}
        self._chunks: list[tuple[int, int]] = []  # start and size of their records
        self._cache: dict[int, bytes] = {}  # number of a chunk: what is in it
        self._first_damage = ""
        self._num_damaged = 0
        self.warnings: list[str] = []
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise
        self.streams = self._streams.all()

    def read(self, place: tuple[int, ...]) -> bytes:
        """Read a message; raises BagError."""
        number, start, size = place
        if number == IN_FILE:
            return _read(self._file, start, size)
        if number not in self._cache:
            records, _ = self._unpack_chunk(*self._chunks[number])
            while self._cache and len(records) + sum(map(len, self._cache.values())) > MAX_CACHE_BYTES:
                del self._cache[next(iter(self._cache))]
            self._cache[number] = records
        return self._cache[number][start : start + size]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self) -> None:
        finished = _read(self._file, max(0, self._size - len(MAGIC)), len(MAGIC)) == MAGIC
        if finished:
            self._scan_summary()
        end = self._size
        try:
            for opcode, start, size in _records(self._file, len(MAGIC), self._size):
                if opcode in (FOOTER, DATA_END):
                    break
                self._take(self._file, opcode, start, size)
        except _IncompleteError as error:
            end = error.position
            if error.opcode == CHUNK and not finished:
                self._take(self._file, CHUNK, end + 9, self._size - end - 9)
        count = sum(stream.count for stream in self._streams.all())
        if not finished:
            self.warnings.append(
                f"{self._path.name} has no end: the recording was cut off, or is not finished. The {count} messages up "
                f"to there are used; `mcap recover` or `ros2 bag reindex` makes a whole file of them"
            )
        elif end < self._size:
            self._leave_out(f"everything from byte {end} of {self._size} on")
        if self._num_damaged:
            more = f", and {self._num_damaged - 1} more places" if self._num_damaged > 1 else ""
            self.warnings.append(
                f"{self._path.name} is damaged; {count} messages in it are used, left out is {self._first_damage}{more}"
            )

    def _scan_summary(self) -> None:
        """Read schemas and channels where they are repeated, for the case that the chunk is damaged that began with them."""
        footer = _read(self._file, max(0, self._size - FOOTER_BYTES), FOOTER_BYTES)
        if len(footer) < FOOTER_BYTES or footer[0] != FOOTER:
            return
        (start,) = struct.unpack_from("<Q", footer, 9)
        with suppress(_IncompleteError):
            for opcode, position, size in _records(self._file, start or self._size, self._size - len(MAGIC)):
                if opcode in (SCHEMA, CHANNEL):
                    self._take(self._file, opcode, position, size)

    def _take(self, stream: BinaryIO, opcode: int, start: int, size: int, chunk: int = IN_FILE) -> None:
        """Take in one record, of the file or of a chunk in it; what is damaged is left out."""
        try:
            if opcode == SCHEMA:
                content = _read(stream, start, min(size, MAX_DESCRIPTION_BYTES))
                self._schemas[_id(content)], _ = _text(content, 2)
            elif opcode == CHANNEL:
                self._take_channel(_read(stream, start, min(size, MAX_DESCRIPTION_BYTES)))
            elif opcode == MESSAGE:
                self._take_message(stream, start, size, chunk)
            elif opcode == CHUNK and chunk == IN_FILE:
                self._take_chunk(start, size)
        except (BagError, struct.error) as error:
            where = f"byte {start}" if chunk == IN_FILE else f"byte {start} of the chunk at {self._chunks[chunk][0]}"
            self._leave_out(f"what lies at {where} ({error})")

    def _leave_out(self, what: str) -> None:
        self._first_damage = self._first_damage or what
        self._num_damaged += 1

    def _take_channel(self, content: bytes) -> None:
        (schema,) = struct.unpack_from("<H", content, 2)
        topic, position = _text(content, 4)
        encoding, _ = _text(content, position)
        msgtype = self._schemas.get(schema, "unknown type")
        self._channels[_id(content)] = self._streams.stream(topic, msgtype, encoding)

    def _take_message(self, stream: BinaryIO, start: int, size: int, chunk: int) -> None:
        content = _read(stream, start, min(size, 22 + HEADER_BYTES))
        channel, _, log_ns, _ = struct.unpack_from("<HIQQ", content)
        known = self._channels.get(channel)
        if known is None:
            raise BagError(f"a message of channel {channel}, which nothing describes")
        if self._streams.wants(known):
            check_size(size, "a message")
            head = unpack_message(content[22:], lambda: _read(stream, start + 22, size - 22))
            known.entries.append(Entry(log_ns, header_stamp_ns(head), (chunk, start + 22, size - 22)))
        known.count += 1

    def _take_chunk(self, start: int, size: int) -> None:
        records, whole = self._unpack_chunk(start, size)
        self._chunks.append((start, size))
        number, stream = len(self._chunks) - 1, io.BytesIO(records)
        try:
            for opcode, position, length in _records(stream, 0, len(records)):
                self._take(stream, opcode, position, length, number)
        except _IncompleteError as error:
            if whole:
                raise BagError(f"a chunk whose records do not fit from {error.position} on") from error

    def _unpack_chunk(self, start: int, size: int) -> tuple[bytes, bool]:
        """Return the records of a chunk, and False where the file ends before the chunk does; raises BagError."""
        fixed = _read(self._file, start, min(size, MAX_DESCRIPTION_BYTES))
        _, _, unpacked_size, checksum = struct.unpack_from("<QQQI", fixed)
        compression, position = _text(fixed, 28)
        (packed_size,) = struct.unpack_from("<Q", fixed, position)
        position += 8
        whole = packed_size <= size - position or start + size < self._size
        packed_size = min(packed_size, size - position)
        check_size(max(packed_size, unpacked_size), "a chunk")
        records = _unpack(_read(self._file, start + position, packed_size), compression)
        if whole and (len(records) != unpacked_size or checksum not in (0, zlib.crc32(records))):
            raise BagError("a chunk whose size or checksum is wrong")
        return records, whole


def _unpack(packed: bytes, compression: str) -> bytes:
    """Decompress a chunk as far as it goes; raises BagError."""
    if compression == "zstd":
        return unpack_zstd(packed)
    if compression == "lz4":
        try:
            return bytes(LZ4FrameDecompressor().decompress(packed, max_length=MAX_BYTES))
        except RuntimeError as error:
            raise BagError(f"lz4 cannot unpack it ({error})") from error
    if compression:
        raise BagError(f"a chunk with the compression {compression!r}; known are zstd and lz4")
    return packed


def _records(stream: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, position and size of the records in a range of bytes; raises _IncompleteError."""
    while start < end:
        head = _read(stream, start, 9)
        opcode, size = struct.unpack("<BQ", head) if len(head) == 9 else (0, 0)
        if not opcode or size > end - start - 9:
            raise _IncompleteError(start, opcode)
        yield opcode, start + 9, size
        start += 9 + size


def _read(stream: BinaryIO, start: int, size: int) -> bytes:
    stream.seek(start)
    return stream.read(size)


def _id(content: bytes) -> int:
    return int(struct.unpack_from("<H", content)[0])


def _text(content: bytes, position: int) -> tuple[str, int]:
    """Read a text with its length before it, and where it ends; raises struct.error where it is not all there."""
    (size,) = struct.unpack_from("<I", content, position)
    (text,) = struct.unpack_from(f"{size}s", content, position + 4)
    return text.decode(errors="replace"), position + 4 + size
