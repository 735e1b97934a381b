"""Stray bytes before the markers of a JPEG: told from image data, and taken off.

Some cameras leave bytes between the last block and a marker. A decoder that has lost its place in damaged data leaves some as
well, and libjpeg warns of both alike. But the latter are image data: they go on in whole MCUs up to their end, and the block
before them seldom ends where an encoder would have filled up the byte with ones.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lwseg_ros.imaging.jpeg_stream import MAX_SIDE, JpegStream

# Finding out takes about eight decodings for each scan.
NUM_DECODINGS = 8
MAX_DECODED_PIXELS = 1 << 25
MAX_INTERVALS = 2000
# Where more restart intervals than these, and most of all, end in stray bytes, it is the camera's way and not damage.
FEW_INTERVALS = 4
# libjpeg reads ahead, and says nothing of stray bytes within that.
READ_AHEAD_BYTES = 16

_RESTART = re.compile(rb"(\xff[\xd0-\xd7])")
_STRAY = re.compile(r"(\d+) extraneous bytes before marker")
_TRUNCATED = "premature end of data"

Decode = Callable[[bytes], npt.NDArray[np.uint8]]


def without_stray_bytes(stream: JpegStream, decode: Decode) -> bytes:
    """Write the stream anew without stray bytes.

    decode: raises ValueError with the first warning of libjpeg. So does this, where the bytes are image data, or where
    there is other damage before them.
    """
    height, width = stream.size_hw
    if height * width * NUM_DECODINGS * len(stream.scans) > MAX_DECODED_PIXELS:
        raise ValueError("bytes before a marker, in an image too large to tell them from damage")
    if stream.is_sequential:
        return stream.join([_trim_intervals(stream, decode)])
    return stream.join(_trim_scans(stream, decode))


def number_of_stray_bytes(warning: str) -> int:
    """Return of how many bytes that it did not need libjpeg warns."""
    found = _STRAY.search(warning)
    return int(found[1]) if found else 0


def _trim_scans(stream: JpegStream, decode: Decode) -> list[bytes]:
    """Take off the end of every scan what no block needs, where it is padding or the scan ends as an encoder ends it.

    Stray bytes before restart markers are left, and stay an error.
    """
    trimmed: list[bytes] = []
    for entropy in stream.entropies():
        *before, last = _RESTART.split(entropy)
        kept = b"".join(before)

        def decode_scan(coded: bytes, kept: bytes = kept) -> npt.NDArray[np.uint8]:
            return decode(stream.join([*trimmed, kept + _stuffed(coded)]))

        interval = _interval(decode_scan, last)
        if not (_is_padding(interval.rest) or _is_filled_up(decode_scan, interval.coded)):
            raise ValueError(f"a decoder that has lost its place leaves {len(interval.rest)} bytes of image data")
        trimmed.append(kept + _stuffed(interval.coded))
    return trimmed


def _trim_intervals(stream: JpegStream, decode: Decode) -> bytes:
    """Take what is no image data off the end of every restart interval; without restart markers, the scan is the only one."""
    (entropy,) = stream.entropies()
    pieces = _RESTART.split(entropy) if stream.restart_interval else [entropy]
    if len(pieces) > 2 * MAX_INTERVALS:
        raise ValueError(f"bytes before a marker, and more than {MAX_INTERVALS} restart intervals")
    intervals = list(_intervals(stream, decode, pieces[::2]))
    odd = [interval for interval in intervals if not _is_padding(interval.rest)]
    if len(odd) <= max(FEW_INTERVALS, len(intervals) // 2):
        for interval in odd:
            if _is_image_data(interval, stream, decode):
                raise ValueError(f"a decoder that has lost its place leaves {len(interval.rest)} bytes of image data")
    del pieces[2 * len(intervals) - 1 :]
    pieces[::2] = [_stuffed(interval.coded) for interval in intervals]
    return b"".join(pieces)


class _Interval(NamedTuple):
    """MCUs in a row.

    decode: decodes data like `coded` as an image of their own. coded: their entropy-coded data, without the zeros that are
    stuffed behind 0xFF. rest: the bytes behind them.
    """

    decode: Decode
    coded: bytes
    rest: bytes


def _intervals(stream: JpegStream, decode: Decode, pieces: Sequence[bytes]) -> Iterator[_Interval]:
    (height, width), (mcu_height, mcu_width) = stream.size_hw, stream.mcu_hw
    mcus_per_row = -(-width // mcu_width)
    remaining = mcus_per_row * -(-height // mcu_height)
    for piece in pieces:
        mcus = min(stream.restart_interval or remaining, remaining)
        if not mcus:
            return
        remaining -= mcus
        whole_rows, others = divmod(mcus, mcus_per_row)
        size_hw = (mcu_height, mcus * mcu_width) if others else (whole_rows * mcu_height, width)
        yield _interval(_decoder(stream, decode, size_hw), piece)


def _interval(decode: Decode, entropy: bytes) -> _Interval:
    coded = entropy.rstrip(b"\xff").replace(b"\xff\0", b"\xff")
    warning = _warning(decode, coded)
    reported = number_of_stray_bytes(warning)
    if warning and not reported:
        raise ValueError(warning)
    length = _length(decode, coded, max(1, len(coded) - reported - READ_AHEAD_BYTES))
    coded, rest = coded[:length], coded[length:]
    if len(rest) > 1 and set(rest) == set(coded[-1:]):  # zeros decode to something
        raise ValueError("its last block is made of the padding that follows")
    return _Interval(decode, coded, rest)


def _is_image_data(interval: _Interval, stream: JpegStream, decode: Decode) -> bool:
    """Tell whether what is behind an interval goes on where its last MCU ends."""
    if not _is_filled_up(interval.decode, interval.coded):
        return True
    height, width = stream.mcu_hw
    for unused in range(8):
        ones = (1 << unused) - 1
        if interval.coded[-1] & ones != ones:
            return False
        # the bits from the end of the last MCU on, moved to the start of a byte
        num_bits = unused + 8 * len(interval.rest)
        moved = -num_bits % 8
        bits = (ones << 8 * len(interval.rest) | int.from_bytes(interval.rest, "big")) << moved | (1 << moved) - 1
        coded = bits.to_bytes((num_bits + moved) // 8, "big")

        def decode_mcus(mcus: int) -> Decode:
            return _decoder(stream, decode, (height, mcus * width))

        most = min(MAX_SIDE // width, num_bits)
        mcus = bisect_left(range(1, most + 1), True, key=lambda mcus: _TRUNCATED in _warning(decode_mcus(mcus), coded))
        if mcus:
            length = _length(decode_mcus(mcus), coded, 0)
            if (
                len(coded) - length <= 1
                and set(coded[length:]) <= {0xFF}
                and _is_filled_up(decode_mcus(mcus), coded[:length])
            ):
                return True
    return False


def _decoder(stream: JpegStream, decode: Decode, size_hw: tuple[int, int]) -> Decode:
    return lambda coded: decode(stream.join([_stuffed(coded)], size_hw))


def _length(decode: Decode, coded: bytes, at_least: int) -> int:
    """Return how many bytes are needed to decode all MCUs."""
    lengths = range(at_least, len(coded))
    return at_least + bisect_left(lengths, True, key=lambda length: _TRUNCATED not in _warning(decode, coded[:length]))


def _is_filled_up(decode: Decode, coded: bytes) -> bool:
    """Tell whether all bits of the last byte that the image does not need are ones: its lowest zero is needed."""
    last = coded[-1]
    if last == 0xFF:
        return True
    flipped = coded[:-1] + bytes([last | last + 1])
    try:
        return not np.array_equal(decode(flipped), decode(coded))
    except ValueError:
        return True


def _is_padding(rest: bytes) -> bool:
    return len(set(rest)) <= 1


def _warning(decode: Decode, coded: bytes) -> str:
    try:
        decode(coded)
    except ValueError as warning:
        return str(warning)
    return ""


def _stuffed(coded: bytes) -> bytes:
    return coded.replace(b"\xff", b"\xff\0")
