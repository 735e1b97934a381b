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
# Every decoding reads the tables anew; a scan has at most a dozen, of 2 kB in all.
MAX_TABLES = 64
MAX_TABLE_BYTES = 1 << 14
# Where more intervals than these, and most of all, end in stray bytes, it is the camera's way and not damage.
FEW_INTERVALS = 4
# libjpeg reads ahead, and says nothing of stray bytes within that.
READ_AHEAD_BYTES = 16

_RESTART = re.compile(rb"(\xff[\xd0-\xd7])")
_STRAY = re.compile(r"(\d+) extraneous bytes before marker")
_TRUNCATED = "premature end of data"

Decode = Callable[[bytes], npt.NDArray[np.uint8]]


def without_stray_bytes(stream: JpegStream, decode: Decode) -> bytes:
    """Write the stream anew without stray bytes, and without segments that decode no pixel.

    decode: raises ValueError with the first warning of libjpeg. So does this, where the bytes are image data, or where
    there is other damage before them.
    """
    height, width = stream.size_hw
    if height * width * NUM_DECODINGS * len(stream.scans) > MAX_DECODED_PIXELS:
        raise ValueError("bytes before a marker, in an image too large to tell them from damage")
    bare = stream.bare()
    for scan in bare.scans:
        if len(scan.segments) > MAX_TABLES or sum(map(len, scan.segments)) > MAX_TABLE_BYTES:
            raise ValueError("bytes before a marker, and too many tables to tell them from damage")
    if stream.is_sequential:
        return bare.join([_trim_intervals(bare, decode)])
    return bare.join(_trim_scans(bare, decode))


def number_of_stray_bytes(warning: str) -> int:
    """Return of how many bytes that it did not need libjpeg warns."""
    found = _STRAY.search(warning)
    return int(found[1]) if found else 0


def _trim_scans(stream: JpegStream, decode: Decode) -> list[bytes]:
    """Take off the end of every scan what no block needs; stray bytes before restart markers are left, and stay an error."""
    trimmed: list[bytes] = []
    intervals: list[_Interval] = []
    for entropy in stream.entropies():
        *others, last = _RESTART.split(entropy) if stream.restart_interval else [entropy]
        before = (*trimmed, b"".join(others))

        def decode_scan(coded: bytes, before: tuple[bytes, ...] = before) -> npt.NDArray[np.uint8]:
            return decode(stream.join([*before[:-1], before[-1] + _stuffed(coded)]))

        intervals.append(_interval(decode_scan, last))
        trimmed.append(before[-1] + _stuffed(intervals[-1].coded))
    # The last bits of a scan may be of no consequence, so that few bytes are not examined.
    _check_rests(intervals, lambda it: len(it.rest) > READ_AHEAD_BYTES and not _is_filled_up(it.decode, it.coded))
    return trimmed


def _trim_intervals(stream: JpegStream, decode: Decode) -> bytes:
    """Take what is no image data off the end of every restart interval; without restart markers, the scan is the only one."""
    (entropy,) = stream.entropies()
    pieces = _RESTART.split(entropy) if stream.restart_interval else [entropy]
    if len(pieces) > 2 * MAX_INTERVALS:
        raise ValueError(f"bytes before a marker, and more than {MAX_INTERVALS} restart intervals")
    intervals = list(_intervals(stream, decode, pieces[::2]))
    _check_rests(intervals, lambda interval: _is_image_data(interval, stream, decode))
    del pieces[2 * len(intervals) - 1 :]
    pieces[::2] = [_stuffed(interval.coded) for interval in intervals]
    return b"".join(pieces)


def _check_rests(intervals: Sequence[_Interval], is_image_data: Callable[[_Interval], bool]) -> None:
    """Raise ValueError where anything but padding follows an interval and is image data."""
    odd = [interval for interval in intervals if len(set(interval.rest)) > 1]
    if len(odd) > max(FEW_INTERVALS, len(intervals) // 2):
        return
    for interval in odd:
        if is_image_data(interval):
            raise ValueError(f"a decoder that has lost its place leaves {len(interval.rest)} bytes of image data")


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
    coded = _unstuffed(entropy.rstrip(b"\xff"))
    warning = _warning(decode, coded)
    reported = number_of_stray_bytes(warning)
    if warning and not reported:
        raise ValueError(warning)
    stuffed = _stuffed(coded)
    end = len(stuffed) - reported
    first, last = (len(_unstuffed(stuffed[: max(1, at)])) for at in (end - READ_AHEAD_BYTES, end))
    length = _length(decode, coded, range(first, last))
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
        if _TRUNCATED not in _warning(decode_mcus(most), coded):  # more than one image can show
            continue
        mcus = bisect_left(range(1, most), True, key=lambda mcus: _TRUNCATED in _warning(decode_mcus(mcus), coded))
        if mcus:
            length = _length(decode_mcus(mcus), coded, range(len(coded)))
            end = coded[length:]
            if end in (b"", b"\xff") and _is_filled_up(decode_mcus(mcus), coded[:length]):
                return True
    return False


def _decoder(stream: JpegStream, decode: Decode, size_hw: tuple[int, int]) -> Decode:
    return lambda coded: decode(stream.join([_stuffed(coded)], size_hw))


def _length(decode: Decode, coded: bytes, lengths: range) -> int:
    """Return how many bytes are needed to decode all MCUs; that many suffice if none of these lengths does."""
    return lengths.start + bisect_left(
        lengths, True, key=lambda length: _TRUNCATED not in _warning(decode, coded[:length])
    )


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


def _warning(decode: Decode, coded: bytes) -> str:
    try:
        decode(coded)
    except ValueError as warning:
        return str(warning)
    return ""


def _stuffed(coded: bytes) -> bytes:
    return coded.replace(b"\xff", b"\xff\0")


def _unstuffed(entropy: bytes) -> bytes:
    return entropy.replace(b"\xff\0", b"\xff")
