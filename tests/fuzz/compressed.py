"""Compressed images: damaged, cut, spliced, and with headers that declare anything."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np

from fuzz.damage import Hope
from fuzz.jpegs import changed_jpeg, large_jpegs, sound_jpegs
from fuzz.pngs import changed_png, large_pngs, sound_pngs
from fuzz.runner import pick, refused
from lwseg_ros.errors import ImageError
from lwseg_ros.imaging import messages

FORMATS = (
    "jpeg",
    "png",
    "bgr8; jpeg compressed bgr8",
    "rgb8; png compressed rgb8",
    "bayer_rggb8; png compressed",
    "BayerGB8;jpeg compressed bgr8",
    "bayer_bggr16; png compressed",
    "16UC1; compressedDepth png",
    "JPEG",
    "h264",
    "",
    "?",
    ";" * 1000,
    "\0\n\x1b[2J",
    "\udcff",
    "bayer_rggb8" * 100_000,
)


def check(seed: int) -> str:
    """Make a stream; where only what costs no pixel was changed, it has to be read, and as before."""
    rng = np.random.default_rng([2, seed])
    sound = pick(rng, sound_streams())
    data, hope = (changed_jpeg if sound.startswith(b"\xff\xd8") else changed_png)(sound, rng)
    encoding = pick(rng, FORMATS)
    message = SimpleNamespace(format=encoding, data=pick(rng, [bytes, bytearray, memoryview])(data))
    try:
        image = messages.decode_compressed(message)
    except ImageError as error:
        if hope is Hope.READ and "lost its place" in str(error):  # one of a thousand, of grey images more
            return "sound, but taken for damaged"
        if hope is Hope.READ and "expected 8 or 16" not in str(error):
            raise AssertionError("no pixel is missing") from error
        return refused(error)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    if hope is Hope.NONE:
        return "read"
    np.testing.assert_array_equal(image, _pixels(sound, encoding))
    return "read as before"


@cache
def sound_streams() -> list[bytes]:
    """Make a small image of every kind that cameras send, and some that they do not."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(noise, (96, 64), interpolation=cv2.INTER_CUBIC) // 8 * 8
    large_jpegs(), large_pngs()  # made now, so that no input takes the time
    return [*sound_jpegs(image), *sound_pngs(image)]


@cache
def _pixels(sound: bytes, encoding: str) -> np.ndarray:
    return messages.decode_compressed(SimpleNamespace(format=encoding, data=sound))
