"""JPEG decoding: the pixels that OpenCV gives, and an error where OpenCV passes over damage."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
import simplejpeg

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.jpeg import decode_jpeg

RNG = np.random.default_rng(4)
IMAGE = cv2.GaussianBlur(RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8), (9, 9), 0)


def encode(image: np.ndarray, *settings: int) -> bytes:
    return cv2.imencode(".jpg", image, settings)[1].tobytes()


def by_opencv(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


PLAIN = encode(IMAGE)
CMYK = simplejpeg.encode_jpeg(np.dstack([IMAGE, IMAGE[..., 0]]), colorspace="CMYK")


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        encode(IMAGE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encode(IMAGE, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        encode(IMAGE, cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
        encode(IMAGE[..., 0]),
        CMYK,
    ],
    ids=["baseline", "progressive", "4:4:4", "restart markers", "grey", "CMYK"],
)
def test_a_sound_jpeg_has_the_pixels_that_opencv_gives(data: bytes) -> None:
    np.testing.assert_array_equal(decode_jpeg(data), by_opencv(data))


def test_a_grey_jpeg_as_it_is_stored() -> None:
    data = encode(IMAGE[..., 0])
    np.testing.assert_array_equal(decode_jpeg(data, as_stored=True), by_opencv(data, cv2.IMREAD_GRAYSCALE))
    assert decode_jpeg(PLAIN, as_stored=True).shape == IMAGE.shape


def test_a_damaged_scan_is_noticed() -> None:
    """OpenCV decodes every one of these and reports success."""
    outcomes: Counter[str] = Counter()
    for start in range(1000, len(PLAIN) - 1000, 500):
        damaged = np.frombuffer(PLAIN, np.uint8).copy()
        # no 0xFF: with a marker among them OpenCV may notice, too
        damaged[start : start + 200] = RNG.integers(0, 0xFF, 200)
        assert by_opencv(damaged.tobytes()).shape == IMAGE.shape
        try:
            decode_jpeg(damaged.tobytes())
        except ImageError as error:
            outcomes[str(error).partition(": ")[0]] += 1
        else:
            outcomes["not noticed"] += 1
    noticed = outcomes[f"the JPEG of {len(PLAIN)} bytes is damaged"]
    assert noticed >= 0.9 * outcomes.total(), outcomes
    assert noticed + outcomes["not noticed"] == outcomes.total(), outcomes


@pytest.mark.parametrize("data", [PLAIN, CMYK], ids=["YCbCr", "CMYK"])
def test_a_lost_end_is_noticed_behind_a_thumbnail_that_has_one(data: bytes) -> None:
    thumbnail = encode(IMAGE[:8, :8])
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + segment + data[2:]
    assert decode_jpeg(whole).shape == IMAGE.shape
    with pytest.raises(ImageError, match="is damaged: Premature end of JPEG file"):
        decode_jpeg(whole[: len(whole) // 2])


@pytest.mark.parametrize("stray", [bytes(5), bytes(300), bytes(range(1, 6))], ids=["zeros", "many zeros", "five"])
def test_padding_before_the_end_is_harmless(stray: bytes) -> None:
    np.testing.assert_array_equal(decode_jpeg(PLAIN[:-2] + stray + PLAIN[-2:]), decode_jpeg(PLAIN))


def test_a_scan_that_leaves_many_bytes_has_lost_its_place() -> None:
    with pytest.raises(ImageError, match=r"is damaged: Corrupt JPEG data: \d+ extraneous bytes before marker 0xd9"):
        decode_jpeg(PLAIN[:-2] + bytes(range(100)) + PLAIN[-2:])
