"""JPEG decoding that tells missing pixels from what only looks odd.

OpenCV decodes a JPEG whose scan is damaged, fills what is lost with grey or shifted blocks, and reports success. simplejpeg
hands on the first thing that libjpeg warns of, which may be damage or stray bytes that cost no pixel; the pixels of a sound
image are the same.
"""

from __future__ import annotations

from contextlib import suppress

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.jpeg_stray import number_of_stray_bytes, without_stray_bytes
from lwseg_ros.imaging.jpeg_stream import JpegStream, read_stream

# A scan costs time by its pixels, whatever it holds: six of the largest image, or more of smaller ones.
MAX_SCANNED_PIXELS = 6 << 26
# Four colours take more memory, and are converted here.
MAX_PRINT_PIXELS = 1 << 24
# More than an EXIF preview takes before the pixels is not handed to libjpeg, which is slow at passing over it.
MAX_HEADER_BYTES = 1 << 20
# Huffman codes take at least one bit for a block of 8 x 8.
MAX_PIXELS_PER_BYTE = 8 * 64

EXIF = b"Exif\0\0"

Pixels = npt.NDArray[np.uint8]


def decode_jpeg(data: bytes, as_stored: bool = False, upright: bool = False) -> Pixels:
    """Decode a JPEG to uint8 BGR [H, W, 3]; with ``as_stored`` a grey one to [H, W].

    upright: turn the image by its EXIF orientation, which otherwise is ignored.

    Raises ImageError where pixels are damaged or missing, and before decoding where the stream is too short for its size,
    has too many scans, or is coded arithmetically. Stray bytes before a marker, anything after the last block, and a
    missing end marker are accepted. Not every flipped bit can be noticed: JPEG has no checksum.
    """
    stream = read_stream(data)
    _check_work(stream)
    try:
        image = _decode_sound_blocks(stream)
    except (ValueError, RuntimeError) as error:
        raise ImageError(f"the JPEG of {len(data)} bytes is damaged: {error}") from error
    if upright and EXIF in data:
        return _decode_upright(stream)
    channels = image.shape[2]
    if channels == 1:
        return image[:, :, 0] if as_stored else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return image if channels == 3 else _print_colours_to_bgr(image)


def _check_work(stream: JpegStream) -> None:
    height, width = stream.size_hw
    if stream.is_arithmetic:  # libjpeg decodes what is left of a scan to a whole image, and warns of nothing
        raise ImageError("the JPEG is coded arithmetically, so that lost pixels go unnoticed; publish baseline JPEG")
    if not stream.is_complete:
        raise ImageError(f"the JPEG of {len(stream.data)} bytes lacks a scan; it was truncated on its way")
    if height * width > len(stream.data) * MAX_PIXELS_PER_BYTE:
        raise ImageError(
            f"the JPEG of {len(stream.data)} bytes is too short for height {height} and width {width}; it was truncated on its way"
        )
    if stream.num_components > 3 and height * width > MAX_PRINT_PIXELS:
        raise ImageError(
            f"the CMYK JPEG of height {height} and width {width} is too large: at most {MAX_PRINT_PIXELS} pixels are accepted"
        )
    if height * width * stream.num_scans > MAX_SCANNED_PIXELS:
        raise ImageError(
            f"the JPEG has {stream.num_scans} scans of height {height} and width {width}, at most {MAX_SCANNED_PIXELS} pixels "
            "in all are accepted; publish baseline JPEG, which has one scan"
        )


def _decode_sound_blocks(stream: JpegStream) -> Pixels:
    """Decode a stream, without what costs no pixel where there is such; raises ValueError, in libjpeg's words, for damage."""
    if stream.is_sequential and stream.scans[0].start <= MAX_HEADER_BYTES:
        with suppress(ValueError):
            return _decode(stream.data, stream.size_hw)
    # Scans that follow the image's own are left out, too, and segments without pixels, such as a profile that is damaged.
    bare = stream.bare()
    try:
        return _decode(bare.join(bare.entropies()))
    except ValueError as error:
        if not number_of_stray_bytes(str(error)):
            raise
    return _decode(without_stray_bytes(stream, _decode))


def _decode(data: bytes, size_hw: tuple[int, int] | None = None) -> Pixels:
    """Decode to uint8 [H, W, C] of one grey, three BGR or four CMYK channels; raises ValueError at libjpeg's first warning."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except KeyError as error:
        raise ValueError("its colours are sampled as no camera samples them") from error
    if size_hw not in (None, (height, width)):
        raise ValueError(f"its header can be read as {height} x {width} and as {size_hw} pixels")
    target = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "BGR")
    image: Pixels = simplejpeg.decode_jpeg(data, target)
    return image


def _decode_upright(stream: JpegStream) -> Pixels:
    """Let OpenCV, which turns images wherever it reads them, decode a stream that is known to be sound."""
    image = cv2.imdecode(np.frombuffer(stream.join(stream.entropies()), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ImageError(
            f"the JPEG of {len(stream.data)} bytes cannot be turned by its EXIF orientation, as OpenCV does not decode it"
        )
    return np.asarray(image, np.uint8)


def _print_colours_to_bgr(cmyk: Pixels) -> Pixels:
    """Convert as OpenCV does, whose decoder stops at other things."""
    key = cmyk[:, :, 3].astype(np.uint16)
    bgr = np.empty((*key.shape, 3), np.uint8)
    for channel in range(3):
        ink = cmyk[:, :, 2 - channel].astype(np.uint16)
        bgr[:, :, channel] = key - ((255 - ink) * key >> 8)
    return bgr
