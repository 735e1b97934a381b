"""JPEG decoding that tells damage.

OpenCV decodes a JPEG whose scan is damaged, fills what is lost with grey or shifted blocks, and reports success. simplejpeg
hands on what libjpeg notices; the pixels of a sound image are the same.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from lwseg_ros.errors import ImageError

# Some cameras leave a few bytes between the last block and the end marker. A scan that lost its place leaves more.
MAX_STRAY_BYTES = 8

_END = b"\xff\xd9"
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def decode_jpeg(data: bytes, as_stored: bool = False) -> npt.NDArray[np.uint8]:
    """Decode a JPEG to uint8 BGR [H, W, 3]; with ``as_stored`` a grey one to [H, W]. Orientation tags are ignored.

    Raises ImageError where the stream is damaged or of a kind that cannot be decoded. Stray bytes before the end marker
    are accepted when they are few or padding, all of one value. Not every flipped bit can be noticed: JPEG has no checksum.
    """
    try:
        *_, colours, _ = simplejpeg.decode_jpeg_header(data)
        stored = {"Gray": "GRAY" if as_stored else "BGR", "CMYK": "CMYK", "YCCK": "CMYK"}
        target = stored.get(colours, "BGR")
        try:
            image = simplejpeg.decode_jpeg(data, target)
        except ValueError as error:
            if not _only_stray_bytes(data, str(error)):
                raise
            image = simplejpeg.decode_jpeg(data, target, strict=False)
        if target == "CMYK":
            image = _decode_print_colours(data)
    except (ValueError, RuntimeError) as error:
        raise ImageError(f"the JPEG of {len(data)} bytes is damaged: {error}") from error
    return image[:, :, 0] if target == "GRAY" else image


def _only_stray_bytes(data: bytes, complaint: str) -> bool:
    stray = _STRAY.search(complaint)
    if stray is None:
        return False
    number, end = int(stray[1]), data.rfind(_END)
    return number <= MAX_STRAY_BYTES or len(set(data[end - number : end])) == 1


def _decode_print_colours(data: bytes) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("its CMYK colours cannot be decoded")
    return np.asarray(image, np.uint8)
