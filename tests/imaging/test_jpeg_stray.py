"""What telling stray bytes from damage costs, counted in bytes that are decoded."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import simplejpeg

from lwseg_ros.imaging.jpeg import decode_jpeg
from lwseg_ros.imaging.jpeg_stray import without_stray_bytes
from lwseg_ros.imaging.jpeg_stream import read_stream

IMAGE = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (80, 160, 3), dtype=np.uint8), (9, 9), 0)
RESTARTS = [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]


def encode(image: np.ndarray, *settings: int) -> bytes:
    data: bytes = cv2.imencode(".jpg", image, settings)[1].tobytes()
    return data


CMYK = simplejpeg.encode_jpeg(np.dstack([IMAGE, IMAGE[..., 0]]), colorspace="CMYK")
KINDS = {
    "grey": encode(IMAGE[..., 0], *RESTARTS),
    "colours": encode(IMAGE, *RESTARTS),
    "progressive": encode(IMAGE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "CMYK": CMYK,
}


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def with_stray_bytes(data: bytes, *segments: bytes) -> bytes:
    """Put segments before the tables, and stray bytes before the end of the first interval or scan."""
    scan = read_stream(data).scans[0].start
    marker = next(i for i in range(scan, len(data)) if data[i] == 0xFF and data[i + 1] not in (0, 0xFF))
    return data[:2] + b"".join(segments) + data[2:marker] + bytes(range(1, 41)) + data[marker:]


def tidied(data: bytes) -> tuple[bytes, int]:
    """Return the stream without stray bytes, and how many bytes were decoded to find them."""
    decoded_bytes = 0

    def decode(trial: bytes) -> np.ndarray:
        nonlocal decoded_bytes
        decoded_bytes += len(trial)
        colours = simplejpeg.decode_jpeg_header(trial)[2]
        return simplejpeg.decode_jpeg(trial, {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "BGR"))

    return without_stray_bytes(read_stream(data), decode), decoded_bytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "segments",
    [
        [segment(0xE1, b"Exif\0\0" + bytes(65000))] * 100,
        [segment(0xFE, b"a comment " * 6000)] * 50,
        [segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60000)), segment(0xED, b"Photoshop 3.0\0" + bytes(60000))],
        [segment(0xE0, b"JFXX\0" + bytes(60000)), segment(0xEE, b"Adobe_CM" + bytes(2)), segment(0xEE, bytes(60000))],
    ],
    ids=["EXIF", "comments", "profiles", "others of these markers"],
)
def test_segments_that_decode_no_pixel_are_not_read_again_and_again(kind: str, segments: Sequence[bytes]) -> None:
    data = KINDS[kind]
    plain, decoded_bytes = tidied(with_stray_bytes(data))
    found, also_decoded_bytes = tidied(with_stray_bytes(data, *segments))
    assert also_decoded_bytes == decoded_bytes
    assert found == plain
    image = decode_jpeg(with_stray_bytes(data, *segments))
    np.testing.assert_array_equal(image, decode_jpeg(data))


def test_what_tells_the_colours_is_read_as_far_as_libjpeg_reads_it() -> None:
    """A preview in a JFIF segment, and what follows in an Adobe one."""
    jfif, preview = b"JFIF\0\1\1\0\0\1\0\1", b"\x64\x64" + bytes(30000)
    adobe = b"Adobe\0\x64\0\0\0\0\1"  # YCbCr
    few, decoded_bytes = tidied(
        with_stray_bytes(KINDS["colours"], segment(0xE0, jfif + preview[:2]), segment(0xEE, adobe))
    )
    segments = segment(0xE0, jfif + preview), segment(0xEE, adobe + bytes(40000))
    many, also_decoded_bytes = tidied(with_stray_bytes(KINDS["colours"], *segments))
    assert also_decoded_bytes == decoded_bytes
    assert many == few
    image = decode_jpeg(with_stray_bytes(KINDS["colours"], *segments))
    np.testing.assert_array_equal(image, decode_jpeg(KINDS["colours"]))


@pytest.mark.parametrize(
    "tables",
    [
        [segment(0xDB, (b"\0" + bytes([1]) * 64) * 1000)],
        [segment(0xDD, b"\0\2")] * 1900,
        [segment(0xDB, b"\0" + bytes([1]) * 64)] * 100,
    ],
    ids=["long", "many intervals", "many"],
)
def test_more_tables_than_a_scan_has_are_not_read_again_and_again(tables: Sequence[bytes]) -> None:
    with pytest.raises(ValueError, match="too many tables to tell them from damage"):
        tidied(with_stray_bytes(KINDS["grey"], *tables))
