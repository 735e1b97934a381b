"""What a JPEG or PNG stream says about itself, read without decoding it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from lwseg_ros.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

_JPEG_END = b"\xff\xd9"
# Start-of-frame markers carry the size; 0xC4, 0xC8 and 0xCC are other segments in the same range.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
# Markers without a length field: TEM and the restart markers.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})


class UnknownFormatError(ImageError):
    """A stream is of no kind that is known here."""


class EncodedImage(NamedTuple):
    """The kind ("jpeg" or "png") and size of an encoded image."""

    kind: str
    height: int
    width: int


def read_header(data: bytes) -> EncodedImage:
    """Read kind and size of an encoded image, so that a decompression bomb is never unpacked.

    Raises UnknownFormatError for anything but JPEG and PNG, ImageError for a stream whose end is missing: some decoders fill the
    lost part with grey and report success.
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_png_header(data)
    if data.startswith(JPEG_SIGNATURE):
        return _read_jpeg_header(data)
    raise UnknownFormatError(f"neither JPEG nor PNG: {len(data)} bytes, the first {data[:8].hex(' ') or 'missing'}")


def _read_png_header(data: bytes) -> EncodedImage:
    if len(data) < 24 or data[12:16] != b"IHDR":
        raise ImageError(f"the PNG of {len(data)} bytes ends before its size; it was truncated on its way")
    if data.rfind(b"IEND") < 0:
        raise ImageError(f"the PNG of {len(data)} bytes has no end marker; it was truncated on its way")
    width, height = struct.unpack(">II", data[16:24])
    return EncodedImage("png", height, width)


def _read_jpeg_header(data: bytes) -> EncodedImage:
    size_hw: tuple[int, int] | None = None
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF or marker in _JPEG_BARE:  # a fill byte, or a marker with nothing after it
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _JPEG_FRAMES and position + 9 <= len(data):
            height, width = struct.unpack_from(">HH", data, position + 5)
            size_hw = (height, width)
        position += 2 + length
        if marker == _JPEG_SCAN:
            # Inside a scan 0xFF is always escaped, so this can only be the real end.
            if data.rfind(_JPEG_END, position) < 0:
                raise ImageError(f"the JPEG of {len(data)} bytes has no end marker; it was truncated on its way")
            if size_hw is None:
                break
            return EncodedImage("jpeg", *size_hw)
    raise ImageError(f"the JPEG of {len(data)} bytes is corrupt: its header breaks off at byte {position}")
