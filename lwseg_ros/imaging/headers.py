"""What a JPEG or PNG stream says about itself, read without decoding it."""

from __future__ import annotations

import struct
from typing import NamedTuple

import simplejpeg

from lwseg_ros.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"


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
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, RuntimeError) as error:
        raise ImageError(
            f"the JPEG of {len(data)} bytes is corrupt: its header breaks off or is of a kind that cannot be decoded ({error})"
        ) from error
    if data.rfind(JPEG_END) < 0:
        raise ImageError(f"the JPEG of {len(data)} bytes has no end marker; it was truncated on its way")
    return EncodedImage("jpeg", height, width)
