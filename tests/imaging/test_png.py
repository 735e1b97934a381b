"""PNG decoding: the pixels, and an error before anything is unpacked that would cost more than the image."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.png import decode_png

RNG = np.random.default_rng(6)
IMAGE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xae\x42\x60\x82"
DATA: bytes = cv2.imencode(".png", IMAGE)[1].tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size_hw: tuple[int, int], pixels: bytes, *, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size_hw[1], size_hw[0], depth, colour, 0, 0, interlaced))
    return SIGNATURE + header + chunk(b"IDAT", pixels) + END


def test_chunks_that_hold_no_pixels_are_left_out() -> None:
    bomb = chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(100_000_000)))
    damaged = chunk(b"tEXt", b"camera\0front")[:-1] + b"?"
    for extra in (
        bomb,
        damaged,
        chunk(b"acTL", struct.pack(">II", 1000, 0)),
        chunk(b"quit", b""),
        chunk(b"gAMA", b"\0\0\1\0"),
    ):
        np.testing.assert_array_equal(decode_png(DATA[:33] + extra + DATA[33:]), IMAGE)


def test_an_end_that_is_missing_or_not_the_end_costs_no_pixel() -> None:
    for data in (DATA[:-1], DATA[:-12], DATA + b"rubbish", DATA[:-12] + b"rubbish", DATA[:-12] + b"rubbish" + END):
        np.testing.assert_array_equal(decode_png(data), IMAGE)


def test_pixels_that_are_missing_are_noticed() -> None:
    for lost in itertools.chain(range(13, 40), range(40, len(DATA) - 33, 97)):
        for end in (b"", END):
            with pytest.raises(ImageError, match=r"truncated|corrupt"):
                decode_png(DATA[:-lost] + end)


@pytest.mark.parametrize("position", ["before", "instead", "after"])
@pytest.mark.parametrize("name", [b"IDAT", b"PLTE", b"tEXt", b"eXIf", b"iCCP", b"fdAT"])
@pytest.mark.parametrize("length", [2**32 - 1, 2**32 - 16, 2**31, 10**9, 10**6])
def test_a_chunk_longer_than_the_stream_costs_nothing(position: str, name: bytes, length: int) -> None:
    liar = struct.pack(">I4s", length, name) + b"x" * 40
    data = {"before": DATA[:33] + liar + DATA[33:], "instead": DATA[:33] + liar + END, "after": DATA[:-12] + liar + END}
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(decode_png(data[position]), IMAGE)
        assert position == "after"
    except ImageError:
        assert position != "after" or name in (b"IDAT", b"PLTE")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10**6


@pytest.mark.parametrize(("depth", "colour", "interlaced"), [(16, 6, 0), (16, 2, 1), (16, 6, 1), (8, 6, 1), (16, 4, 1)])
def test_what_unpacks_to_more_than_an_image_is_not_unpacked(depth: int, colour: int, interlaced: int) -> None:
    pixels = zlib.compress(bytes(10**6)) * 1000
    with pytest.raises(ImageError, match="unpacks to"):
        decode_png(png((8192, 8192), pixels, depth=depth, colour=colour, interlaced=interlaced))


def test_a_stream_too_short_for_its_size_is_not_unpacked() -> None:
    with pytest.raises(ImageError, match="too short for height 8192 and width 8192"):
        decode_png(png((8192, 8192), zlib.compress(bytes(1000))))


def test_an_image_of_one_colour_is_not_too_short() -> None:
    for size_hw in ((1, 1), (480, 640), (4096, 4096)):
        raw = (b"\0" + bytes(3 * size_hw[1])) * size_hw[0]
        assert not decode_png(png(size_hw, zlib.compress(raw, 9))).any()


def test_chunks_without_end_are_not_walked() -> None:
    for filler in (chunk(b"IDAT", b""), chunk(b"tEXt", b"")):
        with pytest.raises(ImageError, match="more than 65536 chunks"):
            decode_png(DATA[:33] + filler * 300_000 + DATA[33:])


def test_grey_as_it_is_stored() -> None:
    grey = IMAGE[..., 0]
    for stored in (grey, grey.astype(np.uint16) * 257):
        data = cv2.imencode(".png", stored)[1].tobytes()
        np.testing.assert_array_equal(decode_png(data, as_stored=True), stored)
    np.testing.assert_array_equal(decode_png(DATA, as_stored=True), IMAGE)
    two_bits = png((4, 4), zlib.compress(b"\0\x1b" * 4), depth=2, colour=0)
    np.testing.assert_array_equal(decode_png(two_bits)[0, :, 0], [0, 85, 170, 255])
    with pytest.raises(ImageError, match="2 bits a pixel, expected 8 or 16"):
        decode_png(two_bits, as_stored=True)
