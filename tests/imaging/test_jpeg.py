"""JPEG decoding: the pixels that OpenCV gives, and an error where OpenCV passes over damage."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import cv2
import numpy as np
import pytest
import simplejpeg
from support import arithmetic_jpegs
from support.effort import is_cheap

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.headers import read_header
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
    with pytest.raises(ImageError, match="is damaged: Corrupt JPEG data: premature end of data"):
        decode_jpeg(whole[: len(whole) // 2])


# What stands in a stream besides the image: a camera's bytes, another's rubbish, values that mean nothing.
RUBBISH = {
    "a byte": b"\x5a",
    "zeros": bytes(300),
    "ones": b"\xff" * 40,
    "five": bytes(range(1, 6)),
    "a hundred": bytes(range(100)),
    "text": b"end of frame 1042",
    "a marker nobody knows": b"\xff\x02\0\5abc",
    "a restart marker": b"ab\xff\xd3cd",
    "another image": encode(IMAGE[:16, :16]),
}
RESTARTS = encode(IMAGE, cv2.IMWRITE_JPEG_RST_INTERVAL, 20)
SEVERAL_RESTARTS = encode(IMAGE, cv2.IMWRITE_JPEG_RST_INTERVAL, 7)
PROGRESSIVE = encode(IMAGE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
GREY = encode(IMAGE[..., 0])
KINDS = {
    "plain": PLAIN,
    "grey": GREY,
    "restarts by row": RESTARTS,
    "restarts within rows": SEVERAL_RESTARTS,
    "progressive": PROGRESSIVE,
    "CMYK": CMYK,
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def sound(request: pytest.FixtureRequest) -> bytes:
    return request.param


def scan_start(data: bytes) -> int:
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


@pytest.mark.parametrize("rubbish", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_around_the_end_costs_no_pixel(sound: bytes, rubbish: bytes) -> None:
    expected = decode_jpeg(sound)
    np.testing.assert_array_equal(decode_jpeg(sound + rubbish), expected)
    np.testing.assert_array_equal(decode_jpeg(sound[:-2] + rubbish + sound[-2:]), expected)
    np.testing.assert_array_equal(decode_jpeg(sound[:-2] + rubbish), expected)


def test_a_missing_end_costs_no_pixel_but_all_before_it_does(sound: bytes) -> None:
    expected = decode_jpeg(sound)
    for lost in (1, 2):
        np.testing.assert_array_equal(decode_jpeg(sound[:-lost]), expected)
    for lost in (3, 4, 5, 10, 100, 1000, 5000):
        for end in (b"", b"\xff", b"\xff\xd9", b"\0" * 50 + b"\xff\xd9"):
            with pytest.raises(ImageError, match=r"premature end of data|lost its place|truncated|padding"):
                decode_jpeg(sound[:-lost] + end)


@pytest.mark.parametrize("number", [1, 3, 9, 40])
@pytest.mark.parametrize("data", [RESTARTS, SEVERAL_RESTARTS], ids=["by row", "within rows"])
def test_stray_bytes_before_restart_markers_cost_no_pixel(data: bytes, number: int) -> None:
    rng = np.random.default_rng(number)

    def with_stray(match: re.Match[bytes]) -> bytes:
        return rng.integers(0, 0xFF, number, dtype=np.uint8).tobytes() + match[0]

    start = scan_start(data)
    expected = decode_jpeg(data)
    everywhere = re.sub(rb"\xff[\xd0-\xd7]", with_stray, data[start:])
    np.testing.assert_array_equal(decode_jpeg(data[:start] + everywhere), expected)
    once = re.sub(rb"\xff\xd4", with_stray, data[start:], count=1)
    np.testing.assert_array_equal(decode_jpeg(data[:start] + once), expected)
    padded = re.sub(rb"\xff[\xd0-\xd9]", lambda match: bytes(number) + match[0], data[start:])
    np.testing.assert_array_equal(decode_jpeg(data[:start] + padded), expected)


def test_a_lost_restart_interval_is_noticed() -> None:
    start = scan_start(RESTARTS)
    markers = [start + match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", RESTARTS[start:])]
    for first, second in itertools.pairwise(markers):
        for cut in (RESTARTS[:first] + RESTARTS[second:], RESTARTS[: first + 2] + RESTARTS[second:]):
            with pytest.raises(ImageError, match="is damaged"):
                decode_jpeg(cut)


def test_bytes_between_segments_and_odd_values_in_them_cost_no_pixel(sound: bytes) -> None:
    expected = decode_jpeg(sound)
    tables = sound.index(b"\xff\xdb")
    for stray in (b"stray", b"\xff\0", b"\xff\xd3", b"\xff\x7f", b"\0\xff\xff\xff"):
        for at in (2, tables):  # behind the start, too
            data = sound[:at] + stray + sound[at:]
            assert read_header(data) == ("jpeg", *expected.shape[:2])
            np.testing.assert_array_equal(decode_jpeg(data), expected)
    parameters = scan_start(sound) - 3
    if sound != PROGRESSIVE:  # what cameras write that think nobody reads them
        odd = sound[:parameters] + b"\0\0\0" + sound[parameters + 3 :]
        np.testing.assert_array_equal(decode_jpeg(odd), expected)
    if b"JFIF" in sound:
        version = sound.index(b"JFIF") + 5
        np.testing.assert_array_equal(decode_jpeg(sound[:version] + b"\2" + sound[version + 1 :]), expected)


@pytest.mark.parametrize("body", [b"", b"\0\0", b"\1\2", b"\2\1profile", b"\1\1" + bytes(500), bytes(65_000)])
def test_a_damaged_profile_costs_no_pixel(sound: bytes, body: bytes) -> None:
    body = b"ICC_PROFILE\0" + body
    profile = b"\xff\xe2" + (2 + len(body)).to_bytes(2, "big") + body
    tables = sound.index(b"\xff\xdb")
    for number in (1, 2, 300):
        data = sound[:tables] + profile * number + sound[tables:]
        np.testing.assert_array_equal(decode_jpeg(data), decode_jpeg(sound))


def test_a_progressive_image_without_its_last_scans_is_noticed() -> None:
    """Libjpeg takes it for a sound image of less detail."""
    scans = [match.start() for match in re.finditer(rb"\xff\xda", PROGRESSIVE)]
    assert len(scans) == 10
    tables = PROGRESSIVE.rindex(b"\xff\xc4")
    for cut in (*scans, tables):
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(ImageError, match=r"lacks a scan|header breaks off"):
                decode_jpeg(PROGRESSIVE[:cut] + end)


@pytest.mark.parametrize("data", [arithmetic_jpegs.SEQUENTIAL, arithmetic_jpegs.PROGRESSIVE])
def test_arithmetic_coding_hides_lost_pixels_and_is_refused(data: bytes) -> None:
    """Libjpeg gives a whole image for each of these, with other pixels and without a warning."""
    for kept in (len(data), len(data) - 2, *range(len(data) - 40, len(data) - 10, 3)):
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(ImageError, match="coded arithmetically"):
                decode_jpeg(data[:kept] + end)


@pytest.mark.parametrize("side", [64, 1024, 8192])
@pytest.mark.parametrize("repeated", [99, 490, 3000])
def test_scans_without_end_are_not_decoded(side: int, repeated: int) -> None:
    """Each would cost 40 ms at the largest size."""
    data = bytearray(encode(IMAGE[..., 0], cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = side.to_bytes(2, "big") * 2
    last = data.rindex(b"\xff\xda")
    scans = data[last:-2] * repeated
    bomb = bytes(data[:-2] + scans + bytes(side**2 // 512) + data[-2:])

    def refuse() -> None:
        with pytest.raises(ImageError, match="scans"):
            decode_jpeg(bomb)

    assert is_cheap(refuse)


def test_segments_that_hold_no_pixel_are_not_handed_to_libjpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder takes most of a second to pass over a hundred megabytes of them."""
    image = np.random.default_rng(3).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    sound = cv2.imencode(".jpg", image)[1].tobytes()
    stuffed = sound[:2] + (b"\xff\xe5\xff\xff" + bytes(65533)) * 1500 + sound[2:]
    expected, decode, handed = decode_jpeg(sound), simplejpeg.decode_jpeg, []

    def counting(data: bytes, *args: object) -> np.ndarray:
        handed.append(len(data))
        return np.asarray(decode(data, *args))

    monkeypatch.setattr(simplejpeg, "decode_jpeg", counting)
    np.testing.assert_array_equal(decode_jpeg(stuffed), expected)
    assert handed
    assert sum(handed) < 2 * len(sound)


@pytest.mark.parametrize("filler", [b"\xff\xe0\0\2", b"\xff\xd8", b"\xff", b"\xff\xd0", b"\xff\xe0\0\0"])
def test_segments_without_end_are_not_walked(filler: bytes) -> None:
    def refuse() -> None:
        with pytest.raises(ImageError):
            decode_jpeg(b"\xff\xd8\xff" + filler * 1_000_000 + PLAIN[2 : len(PLAIN) // 2])

    assert is_cheap(refuse)


def test_a_stream_too_short_for_its_size_is_not_decoded() -> None:
    data = bytearray(PLAIN)
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (8192).to_bytes(2, "big") * 2
    with pytest.raises(ImageError, match="too short for height 8192 and width 8192"):
        decode_jpeg(bytes(data))


def test_a_sound_image_of_one_colour_is_not_too_short() -> None:
    """No other takes fewer bytes for its size."""
    for image in (np.zeros((2048, 2048, 3), np.uint8), np.full((2048, 2048), 128, np.uint8)):
        for settings in (
            [],
            [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
            [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        ):
            assert decode_jpeg(encode(image, *settings)).shape == (2048, 2048, 3)
