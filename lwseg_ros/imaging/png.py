"""PNG decoding whose cost is known before it begins."""

from __future__ import annotations

import struct

import cv2
import numpy as np

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.headers import PNG_SIGNATURE

# Unpacked bytes; 8192 x 8192 pixels of 16-bit RGB, or half as many when interlaced, take under a second.
MAX_UNPACKED_BYTES = 6 << 26
# zlib's largest.
MAX_COMPRESSION = 1032
MAX_CHUNKS = 1 << 16

# All others can be left out without changing a pixel, and some hold compressed data of their own.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_ORIENTATION_CHUNK = b"eXIf"
_END_CHUNK = struct.pack(">I4sI", 0, b"IEND", 0xAE426082)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_GREY = 0


def decode_png(data: bytes, as_stored: bool = False, upright: bool = False) -> np.ndarray:
    """Decode a PNG to uint8 BGR [H, W, 3]; with ``as_stored`` a grey one to [H, W], uint8 or uint16, never fewer bits.

    upright: turn the image by its EXIF orientation, which otherwise is ignored.

    data: a PNG whose size `read_header` has read. Raises ImageError where pixels are damaged or missing, and before unpacking
    where chunks are longer than the stream, or the pixels more than the stream can hold or than are accepted.
    """
    chunks = _chunks(data, _PIXEL_CHUNKS | {_ORIENTATION_CHUNK} if upright else _PIXEL_CHUNKS)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][8:-4])
    unpacked = height * (1 + -(-width * _CHANNELS.get(colour, 4) * depth // 8))
    if unpacked * (2 if interlaced else 1) > MAX_UNPACKED_BYTES:
        raise ImageError(
            f"the png of height {height} and width {width} unpacks to {unpacked} bytes{', interlaced' * (interlaced > 0)}: at most "
            f"{MAX_UNPACKED_BYTES} are accepted, half of that interlaced; publish 8-bit images without alpha"
        )
    if unpacked > MAX_COMPRESSION * sum(len(chunk) for chunk in chunks if chunk[4:8] == b"IDAT"):
        raise ImageError(
            f"the png of {len(data)} bytes is too short for height {height} and width {width}; it was truncated"
        )
    if as_stored and depth < 8:
        raise ImageError(f"the png has {depth} bits a pixel, expected 8 or 16")  # OpenCV spreads them over 0..255
    flags = cv2.IMREAD_ANYDEPTH if as_stored and colour == _GREY else cv2.IMREAD_COLOR
    if not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    stream = b"".join([PNG_SIGNATURE, *chunks, _END_CHUNK])
    try:
        image = cv2.imdecode(np.frombuffer(stream, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"the png of {len(data)} bytes cannot be decoded: {error.err}") from error
    if image is None:
        raise ImageError(f"the png of {len(data)} bytes is corrupt: it cannot be decoded")
    return image


def _chunks(data: bytes, names: frozenset[bytes]) -> list[bytes]:
    """Return the chunks of these names, each with length and checksum; raises ImageError."""
    chunks: list[bytes] = []
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + length
        if name in names:
            if end > len(data):
                raise ImageError(
                    f"the png of {len(data)} bytes has a chunk of {length} bytes at byte {position}; it was truncated on its way"
                )
            chunks.append(data[position:end])
        position = end
        if name == b"IEND" or position >= len(data):  # without an end all pixels may be there
            return chunks
    raise ImageError(f"the png has more than {MAX_CHUNKS} chunks; the stream is corrupt")
