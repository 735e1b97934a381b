"""Compressed images: damaged, cut, spliced, and with headers that declare anything."""

from __future__ import annotations

import re
import struct
import zlib
from enum import Enum, auto
from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np
import simplejpeg

from fuzz.runner import pick, refused
from lwseg_ros.errors import ImageError
from lwseg_ros.imaging import messages

SIDES = (0, 1, 7, 16, 255, 256, 480, 4096, 8192, 8193, 16384, 65500, 65535)
PNG_SIDES = (*SIDES, 2**20, 2**31 - 1, 2**32 - 1)


def check(seed: int) -> str:
    """Make a stream; where only what costs no pixel was changed, it has to be read, and as before."""
    rng = np.random.default_rng([2, seed])
    sound = sound_streams()[int(rng.integers(len(sound_streams())))]
    data, hope = (_jpeg if sound.startswith(b"\xff\xd8") else _png)(sound, rng)
    encoding = str(rng.choice(["jpeg", "png", "bgr8; jpeg compressed bgr8", "bayer_rggb8; png compressed", "", "?"]))
    message = SimpleNamespace(format=encoding, data=data)
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
    original = messages.decode_compressed(SimpleNamespace(format=encoding, data=sound))
    np.testing.assert_array_equal(image, original)
    return "read as before"


class Hope(Enum):
    """What a change leaves of an image: all, all or an error, or nothing that can be known."""

    READ = auto()
    READ_OR_REFUSED = auto()
    NONE = auto()


@cache
def sound_streams() -> list[bytes]:
    """Make a small image of every kind that cameras send, and some that they do not."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(noise, (96, 64), interpolation=cv2.INTER_CUBIC) // 8 * 8
    grey = image[..., 0]
    restarts, progressive = cv2.IMWRITE_JPEG_RST_INTERVAL, cv2.IMWRITE_JPEG_PROGRESSIVE
    factor, f444 = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    jpegs = [
        (image, []),
        (image[:61, :89], [cv2.IMWRITE_JPEG_QUALITY, 40]),
        (image, [factor, f444]),
        (image, [factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]),
        (image, [cv2.IMWRITE_JPEG_OPTIMIZE, 1]),
        (image, [restarts, 1]),
        (image, [restarts, 6]),
        (image, [progressive, 1]),
        (image, [progressive, 1, restarts, 6]),
        (grey, []),
        (grey, [progressive, 1]),
    ]
    pngs = [image, grey, np.dstack([image, grey]), image.astype(np.uint16) * 200, grey.astype(np.uint16) * 200]
    return [
        *(_encoded(".jpg", pixels, *settings) for pixels, settings in jpegs),
        simplejpeg.encode_jpeg(np.ascontiguousarray(np.dstack([image, grey])), colorspace="CMYK"),
        *(_encoded(".png", pixels) for pixels in pngs),
        _encoded(".png", grey // 128, cv2.IMWRITE_PNG_BILEVEL, 1),
        _palette_png(grey),
        _interlaced_png(image),
    ]


def _encoded(suffix: str, pixels: np.ndarray, *settings: int) -> bytes:
    return cv2.imencode(suffix, pixels, settings)[1].tobytes()


def _jpeg(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Change a JPEG, and say what is left of it."""
    scan = data.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    kind = rng.choice(["around", "markers", "header", "segments", "scan", "cut", "scans", "bytes"])
    if kind == "around":
        return _rubbish_around(data, rng), Hope.READ
    if kind == "markers":
        number = int(rng.integers(1, 20))
        is_multiple = data.count(b"\xff\xda") > 1

        def with_stray(match: re.Match[bytes]) -> bytes:
            return rng.integers(0, 0xFF, number, dtype=np.uint8).tobytes() + match[0]

        # In several scans, restart markers are not looked at.
        marker = rb"\xff[\xd9]" if is_multiple else rb"\xff[\xd0-\xd9]"
        return data[:start] + re.sub(marker, with_stray, data[start:]), Hope.READ
    if kind == "header":
        frame = next(
            data.index(bytes((0xFF, marker))) for marker in (0xC0, 0xC1, 0xC2) if bytes((0xFF, marker)) in data
        )
        changed = bytearray(data)
        if rng.random() < 0.5:
            changed[frame + 5 : frame + 9] = struct.pack(">HH", int(rng.choice(SIDES)), int(rng.choice(SIDES)))
        else:
            changed[int(rng.integers(frame, frame + 20))] = int(rng.integers(256))
        return bytes(changed) + bytes(int(rng.choice([0, 0, 0, 200_000]))), Hope.NONE
    if kind == "segments":
        segment = (
            b"\xff"
            + bytes([int(rng.integers(0xC0, 0xFF))])
            + struct.pack(">H", int(rng.integers(0, 65536)))
            + rng.bytes(40)
        )
        at = int(rng.integers(2, start))
        return data[:at] + segment * int(rng.choice([1, 1, 2, 300, 3000])) + data[at:], Hope.NONE
    if kind == "scan":
        return data[:start] + damaged(data[start:], rng), Hope.NONE
    if kind == "cut":
        return data[: int(rng.integers(0, len(data)))] + pick(rng, [b"", b"\xff", b"\xff\xd9"]), Hope.READ_OR_REFUSED
    if kind == "scans":
        repeated = data[data.rindex(b"\xff\xda") : -2] * int(rng.choice([1, 2, 8, 80, 99, 1000]))
        return data[:-2] + repeated + data[-2:], Hope.NONE
    return damaged(data, rng), Hope.NONE


def _rubbish_around(data: bytes, rng: np.random.Generator) -> bytes:
    """Put anything before the end, after it, or in place of it."""
    rubbish = rng.choice(
        [rng.bytes(int(rng.integers(1, 60))), bytes(int(rng.integers(1, 5000))), b"frame 7", b"\xff\xff\xff"]
    )
    if b"\xff" in rubbish[:-1] or data.count(b"\xff\xda") > 1:  # random markers may be those of another image
        return data + rubbish
    return data[:-2] + rubbish + data[-2:] if rng.random() < 0.5 else data[:-2]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, take out, repeat or insert bytes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not changed:
            break
        at, length = int(rng.integers(len(changed))), int(rng.choice([1, 2, 4, 30, 300]))
        kind = rng.integers(5)
        if kind == 0:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at : at + length] = rng.bytes(min(length, len(changed) - at))
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length] * int(rng.choice([1, 3, 100]))
        else:
            changed[at:at] = rng.bytes(length)
    return bytes(changed)


def _png(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Change a PNG, and say what is left of it."""
    chunks = _chunks(data)
    kind = rng.choice(["around", "chunk", "header", "pixels", "lengths", "order", "cut", "bytes"])
    if kind == "around":
        return pick(rng, [data + rng.bytes(30), data[:-12], data[:-1]]), Hope.READ
    if kind == "chunk":
        name = pick(rng, [b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"acTL", b"fdAT", b"gAMA", b"abcd"])
        body = pick(rng, [rng.bytes(50), b"a\0\0" + zlib.compress(bytes(10**6)), b"", struct.pack(">II", 2**31, 0)])
        chunks.insert(int(rng.integers(1, len(chunks))), (name, body))
        return _joined(chunks), Hope.READ
    if kind == "header":
        header = bytearray(chunks[0][1])
        if rng.random() < 0.5:
            header[:8] = struct.pack(">II", int(rng.choice(PNG_SIDES)), int(rng.choice(PNG_SIDES)))
        else:
            header[int(rng.integers(8, 13))] = int(rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255]))
        chunks[0] = (b"IHDR", bytes(header))
        if rng.random() < 0.2:
            chunks.insert(1, (b"IDAT", zlib.compress(bytes(int(rng.choice([10**5, 10**7]))))))
        return _joined(chunks), Hope.NONE
    if kind == "pixels":
        at = int(rng.choice([index for index, (name, _) in enumerate(chunks) if name != b"IHDR"]))
        chunks[at] = (chunks[at][0], damaged(chunks[at][1], rng))
        return _joined(chunks), Hope.NONE
    if kind == "lengths":
        positions = [match.start() - 4 for match in re.finditer(b"IHDR|PLTE|IDAT|IEND", data)]
        at, length = int(rng.choice(positions)), int(rng.choice([0, 1, 2**16, 2**31, 2**32 - 16, 2**32 - 1]))
        return data[:at] + struct.pack(">I", length) + data[at + 4 :], Hope.READ_OR_REFUSED
    if kind == "order":
        rng.shuffle(chunks)
        return _joined(chunks * int(rng.choice([1, 2, 1000]))), Hope.NONE
    if kind == "cut":
        return data[: int(rng.integers(0, len(data)))] + pick(rng, [b"", data[-12:]]), Hope.READ_OR_REFUSED
    return damaged(data, rng), Hope.NONE


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _palette_png(indices: np.ndarray) -> bytes:
    height, width = indices.shape
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    palette = bytes(range(256)) * 3
    return _joined([(b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def _interlaced_png(image: np.ndarray) -> bytes:
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [image[top::down, left::right, ::-1] for top, left, down, right in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 2, 0, 0, 1)
    return _joined([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
