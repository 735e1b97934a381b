"""What a JPEG or PNG stream says about itself, read without decoding it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.jpeg_stream import read_stream

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"  # stray bytes may follow


class UnknownFormatError(ImageError):
    """A stream is of no kind that is known here."""


class EncodedImage(NamedTuple):
    """The kind ("jpeg" or "png") and size of an encoded image."""

    kind: str
    height: int
    width: int


def read_header(data: bytes) -> EncodedImage:
    """Read kind and size of an encoded image, so that a decompression bomb is never unpacked.

    Raises UnknownFormatError for anything but JPEG and PNG, ImageError for a stream that ends before its size.
    """
    if data.startswith(PNG_SIGNATURE):
        return _read_png_header(data)
    if data.startswith(JPEG_SIGNATURE):
        return EncodedImage("jpeg", *read_stream(data).size_hw)
    raise UnknownFormatError(f"neither JPEG nor PNG: {len(data)} bytes, the first {data[:8].hex(' ') or 'missing'}")


def _read_png_header(data: bytes) -> EncodedImage:
    if not (len(data) >= 33 and data[8:16] == b"\0\0\0\x0dIHDR"):
        raise ImageError(f"the PNG of {len(data)} bytes ends before its size, or has none; it was truncated on its way")
    width, height = struct.unpack(">II", data[16:24])
    return EncodedImage("png", height, width)
