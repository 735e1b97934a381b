"""The structure of a JPEG stream: its segments and scans, found without decoding any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lwseg_ros.errors import ImageError

START, END = b"\xff\xd8", b"\xff\xd9"

MAX_SIDE = 65500  # libjpeg's
# Progressive streams have about ten scans, and a stream of several seldom a hundred segments.
MAX_SCANS = 100
MAX_SEGMENTS = 2000

_SEQUENTIAL, _PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_FIRST_ARITHMETIC = 0xC9
_SCAN, _RESTARTS, _JFIF, _ADOBE = 0xDA, 0xDD, 0xE0, 0xEE
_TABLES = frozenset({0xC4, 0xCC, 0xDB, _RESTARTS})  # Huffman, arithmetic conditioning, quantization
# What tells the colours: how it begins after marker and length, and how far libjpeg reads it.
_COLOUR_SEGMENTS = {_JFIF: (b"JFIF\0", 14), _ADOBE: (b"Adobe", 12)}
# Restart markers, and the 0xFF 0x00 that stands for a 0xFF, lie within a scan.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_NUM_COEFFICIENTS = 64
_UNSENT = 255


class Scan(NamedTuple):
    """The segments before a scan, its own header included, and where its entropy-coded data begin."""

    segments: tuple[bytes, ...]
    start: int


@dataclass(frozen=True)
class JpegStream:
    """What a stream is made of.

    Attributes:
        data: the stream itself.
        frame: its frame header, marker included.
        restart_interval: MCUs between restart markers, 0 without.
        scans: up to the one that completes the image; what follows is not part of it.
        num_scans: with those that follow; where one scan is all, they are not counted, as no decoder reads them.
        is_complete: every bit of every coefficient is in some scan.
    """

    data: bytes
    frame: bytes
    restart_interval: int
    scans: tuple[Scan, ...]
    num_scans: int
    is_complete: bool

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int.from_bytes(self.frame[5:7], "big"), int.from_bytes(self.frame[7:9], "big")

    @property
    def num_components(self) -> int:
        """Number of colours."""
        return self.frame[9]

    @property
    def is_arithmetic(self) -> bool:
        """Tell whether the scans are coded arithmetically instead of by Huffman."""
        return self.frame[1] >= _FIRST_ARITHMETIC

    @property
    def mcu_hw(self) -> tuple[int, int]:
        """Height and width of what is coded together, where one scan holds all components."""
        factors = self.frame[11::3]
        if len(factors) == 1:
            return 8, 8
        return 8 * max(factor & 15 for factor in factors), 8 * max(factor >> 4 for factor in factors)

    @property
    def is_sequential(self) -> bool:
        """Tell whether one sequential scan holds everything, as in nearly all streams of cameras."""
        return self.frame[1] in _SEQUENTIAL and len(self.scans) == 1 and self.is_complete

    def entropies(self) -> list[bytes]:
        """Return the entropy-coded data of each scan, without fill bytes at their end."""
        ends = [_SCAN_END.search(self.data, scan.start) for scan in self.scans]
        return [
            self.data[scan.start : end.start() if end else None].rstrip(b"\xff")
            for scan, end in zip(self.scans, ends, strict=True)
        ]

    def join(self, entropies: Sequence[bytes], size_hw: tuple[int, int] | None = None) -> bytes:
        """Write the stream anew with these entropy-coded data of its first scans, nothing between segments, and an end.

        Values that libjpeg warns of become those that it takes them for. With size_hw, that size is declared and no
        restart markers.
        """
        parts = [START]
        for scan, entropy in zip(self.scans, entropies, strict=False):
            parts += [self._rewritten(segment, size_hw) for segment in scan.segments]
            parts.append(entropy)
        return b"".join([*parts, END])

    def bare(self) -> JpegStream:
        """Leave out of the segments what decodes no pixel, such as EXIF, previews and comments."""
        scans = (scan._replace(segments=tuple(filter(None, map(_bare, scan.segments)))) for scan in self.scans)
        return replace(self, scans=tuple(scans))

    def _rewritten(self, segment: bytes, size_hw: tuple[int, int] | None) -> bytes:
        marker = segment[1]
        if size_hw is not None and segment == self.frame:
            height, width = size_hw
            return segment[:5] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + segment[9:]
        if size_hw is not None and marker == _RESTARTS:
            return b""
        if marker == _SCAN and self.frame[1] in _SEQUENTIAL:
            return segment[:-3] + bytes((0, _NUM_COEFFICIENTS - 1, 0))
        if marker == _JFIF and segment[4:9] == b"JFIF\0":
            return segment[:9] + b"\1" + segment[10:]
        if marker == _ADOBE and segment[4:9] == b"Adobe" and segment[15:16] not in (b"\0", b""):
            return segment[:15] + (b"\1" if self.num_components == 3 else b"\2") + segment[16:]
        return segment


def _bare(segment: bytes) -> bytes:
    marker = segment[1]
    if marker in _FRAMES or marker in _TABLES or marker == _SCAN:
        return segment
    name, num_bytes = _COLOUR_SEGMENTS.get(marker, (b"", 0))
    if not name or not segment.startswith(name, 4) or len(segment) < 4 + num_bytes:
        return b""
    return segment[:2] + (2 + num_bytes).to_bytes(2, "big") + segment[4 : 4 + num_bytes]


def read_stream(data: bytes) -> JpegStream:
    """Find the scans of a JPEG; raises ImageError where there is none, or more than any image has."""
    frame, restart_interval = b"", 0
    segments: list[bytes] = []
    scans: list[Scan] = []
    num_scans = 0
    is_complete = False
    # of every component: the lowest bit of each coefficient that a scan has brought
    lowest_bits: dict[int, bytearray] = {}
    for segment, end in _segments(data):
        segments.append(segment)
        marker = segment[1]
        if is_complete:
            num_scans += marker == _SCAN
        elif marker in _FRAMES:
            frame = segment
            lowest_bits = {number: bytearray([_UNSENT] * _NUM_COEFFICIENTS) for number in segment[10::3]}
        elif marker == _RESTARTS:
            restart_interval = int.from_bytes(segment[4:6], "big")
        elif marker == _SCAN:
            num_scans += 1
            scans.append(Scan(tuple(segments), end))
            segments = []
            first, last, low = 0, _NUM_COEFFICIENTS - 1, 0
            if frame[1:2] == bytes([_PROGRESSIVE]):
                first, last, low = segment[-3], min(segment[-2], last), segment[-1] & 15
            for number in segment[5:-3:2]:
                if number in lowest_bits:
                    lowest_bits[number][first : last + 1] = bytes([low]) * (last + 1 - first)
            is_complete = bool(lowest_bits) and not any(map(any, lowest_bits.values()))
            if is_complete and num_scans == 1:
                break
        if num_scans > MAX_SCANS:
            raise ImageError(f"the JPEG has more than {MAX_SCANS} scans; publish baseline JPEG, which has one")
    if not frame or not scans:
        raise ImageError(f"the JPEG of {len(data)} bytes is corrupt: its header breaks off or lacks a size")
    return JpegStream(data, frame, restart_interval, tuple(scans), num_scans, is_complete)


def _segments(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each segment, marker and length included, and the position after it."""
    position = len(START)
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or found[0] == END:
            return
        position = found.end()
        if found[0] == START:  # has no length
            continue
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
        if position > len(data):
            return
        yield data[found.start() : position], position
    raise ImageError(f"the JPEG has more than {MAX_SEGMENTS} segments; the stream is corrupt")
