"""PNG streams: a sound one of every kind, and what may become of them on their way."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from fuzz.damage import Hope, damaged
from fuzz.runner import pick

SIDES = (0, 1, 7, 16, 255, 256, 480, 4096, 8192, 8193, 16384, 65500, 65535, 2**20, 2**31 - 1, 2**32 - 1)
LARGE_SHARE = 0.005  # they take a hundred times as long
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END_BYTES = 12
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))

Chunk = tuple[bytes, bytes]


def sound_pngs(image: np.ndarray) -> list[bytes]:
    """Encode an image uint8 BGR [H, W, 3] in every colour type and depth."""
    grey = image[..., 0]
    wide = np.dstack([image[..., ::-1], grey]).astype(">u2") * 200
    by_opencv = [image, grey, np.dstack([image, grey]), image.astype(np.uint16) * 200, grey.astype(np.uint16) * 200]
    packed = [(_packed(grey >> (8 - depth), depth), depth) for depth in (1, 2, 4)]
    return [
        *(cv2.imencode(".png", pixels)[1].tobytes() for pixels in by_opencv),
        *(_png(rows, 96, depth, GREY) for rows, depth in packed),
        *(_png(rows, 96, depth, PALETTE, (b"PLTE", _colours(1 << depth))) for rows, depth in packed),
        _png(grey[..., np.newaxis], 96, 8, PALETTE, (b"PLTE", _colours(256))),
        _png(grey[..., np.newaxis], 96, 8, PALETTE, (b"PLTE", _colours(256)), (b"tRNS", bytes(range(100)))),
        _png(image[..., :2], 96, 8, GREY_ALPHA),
        _png(wide[..., 2:].copy().view(np.uint8), 96, 16, GREY_ALPHA),
        _png(wide.view(np.uint8), 96, 16, RGBA),
        _png(np.ascontiguousarray(image[..., ::-1]), 96, 8, RGB, interlaced=True),
        _png(grey[..., np.newaxis], 96, 8, PALETTE, (b"PLTE", _colours(256)), interlaced=True),
        _png(wide.view(np.uint8), 96, 16, RGBA, interlaced=True),
    ]


def _packed(values: np.ndarray, depth: int) -> np.ndarray:
    """Pack values [H, W] of so many bits into bytes [H, W * depth / 8, 1]."""
    bits = np.unpackbits(values[..., np.newaxis], axis=-1)[..., 8 - depth :]
    return np.packbits(bits.reshape(len(values), -1), axis=1)[..., np.newaxis]


def _colours(number: int) -> bytes:
    return np.random.default_rng(number).bytes(3 * number)


def _png(pixels: np.ndarray, width: int, depth: int, colour: int, *before: Chunk, interlaced: bool = False) -> bytes:
    """Write pixels, uint8 [H, W, bytes of a pixel]; of under 8 bits, [H, bytes of a row, 1]."""
    header = struct.pack(">IIBBBBB", width, len(pixels), depth, colour, 0, 0, int(interlaced))
    parts = [pixels[top::down, left::right] for top, left, down, right in ADAM7] if interlaced else [pixels]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    return joined([(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def joined(chunks: list[Chunk]) -> bytes:
    """Write chunks with their lengths and checksums."""
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def changed_png(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Change a sound PNG, and say what is left of it; a few are as large as what is accepted."""
    if rng.random() < LARGE_SHARE:
        return _large(rng), Hope.NONE
    return pick(rng, CHANGES)(data, rng)


def _chunks(data: bytes) -> list[Chunk]:
    chunks, at = [], len(SIGNATURE)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunks.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def _index(chunks: list[Chunk], name: bytes) -> int:
    return [found for found, _ in chunks].index(name)


def _pixels(chunks: list[Chunk]) -> bytes:
    return b"".join(body for name, body in chunks if name == b"IDAT")


@cache
def _bomb() -> bytes:
    return zlib.compress(bytes(50_000_000))


@cache
def large_pngs() -> list[bytes]:
    """Make PNGs of one colour, nearly as large as what is accepted."""
    return [
        _flat_png(6000, 8192, 8, RGB, 3),
        _flat_png(6000, 8192, 8, PALETTE, 1, (b"PLTE", _colours(256))),
        _flat_png(6000, 8192, 1, GREY, 1 / 8),
        _flat_png(4000, 6000, 16, RGBA, 8),
    ]


def _flat_png(height: int, width: int, depth: int, colour: int, pixel_bytes: float, *before: Chunk) -> bytes:
    """Write an image of one colour; its rows are never all in memory."""
    packer = zlib.compressobj(1)
    row = b"\1" + bytes(int(width * pixel_bytes))
    pixels = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return joined([(b"IHDR", header), *before, (b"IDAT", pixels), (b"IEND", b"")])


def _large(rng: np.random.Generator) -> bytes:
    stream = pick(rng, large_pngs())
    chunks = _chunks(stream)
    at = _index(chunks, b"IDAT")
    changed = [
        stream,
        stream[: int(rng.integers(len(stream)))],
        joined([*chunks[:at], (b"IDAT", damaged(chunks[at][1], rng)), chunks[-1]]),
        joined([*chunks[:at], *[(b"zTXt", b"a\0\0" + _bomb())] * 100, *chunks[at:]]),
    ]
    return pick(rng, changed)


# The changes, each of a stream without damage. Those that may cost no pixel come first.


def _around(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    return pick(rng, [data + rng.bytes(30), data[:-END_BYTES], data[:-1]]), Hope.READ


def _ancillary(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Put chunks anywhere that hold no pixels: texts, profiles and animations, damaged, long, or unpacking to 50 MB."""
    chunks = _chunks(data)
    for _ in range(int(rng.choice([1, 2, 300]))):
        name = pick(rng, [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"bKGD", b"sPLT", b"hIST", b"abcd"])
        prefix = {b"iTXt": b"a\0\1\0\0\0", b"zTXt": b"a\0\0", b"iCCP": b"a\0\0"}.get(name, b"")
        body = pick(rng, [rng.bytes(50), prefix + _bomb(), b"", struct.pack(">II", 2**31, 0), prefix])
        chunks.insert(int(rng.integers(1, len(chunks))), (name, body))
    if rng.random() < 0.05:
        chunks.insert(1, (b"iTXt", b"a\0\0\0\0\0" + bytes(8_000_000)))
    return joined(chunks), Hope.READ


def _bad_checksum_of_ancillary(data: bytes, _rng: np.random.Generator) -> tuple[bytes, Hope]:
    at = len(SIGNATURE) + 25
    return data[:at] + struct.pack(">I4s4sI", 4, b"tEXt", b"a\0bc", 0) + data[at:], Hope.READ


def _animated(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    chunks = _chunks(data)
    at = _index(chunks, b"IDAT")
    width, height = struct.unpack_from(">II", chunks[0][1])
    shown = chunks[at][1]
    frames = int(rng.choice([1, 2, 100]))
    # number, width, height, offsets, delay, disposal and blending
    controls = [(b"fcTL", struct.pack(">IIIIIHHBB", n, width, height, 0, 0, 1, 30, 0, 0)) for n in range(frames)]
    others = [c for n in range(1, frames) for c in (controls[n], (b"fdAT", struct.pack(">I", n) + shown))]
    head = [(b"acTL", struct.pack(">II", pick(rng, [frames, 0, 2**31]), 0)), *controls[: int(rng.integers(2))]]
    return joined([*chunks[:at], *head, *chunks[at:-1], *others, chunks[-1]]), Hope.READ


def _split(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Divide the pixels among many chunks, some of them empty."""
    chunks = _chunks(data)
    at = _index(chunks, b"IDAT")
    body = _pixels(chunks)
    cuts = sorted(int(cut) for cut in rng.integers(0, len(body) + 1, int(rng.choice([1, 5, 500]))))
    pieces = [(b"IDAT", body[a:b]) for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    return joined([*chunks[:at], *pieces, chunks[-1]]), Hope.READ


def _packed_otherwise(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    chunks = _chunks(data)
    at = _index(chunks, b"IDAT")
    packer = zlib.compressobj(pick(rng, [0, 1, 9]), zlib.DEFLATED, pick(rng, [9, 12, 15]), 8, pick(rng, [0, 2, 3, 4]))
    rows = zlib.decompress(_pixels(chunks))
    pixels = (b"IDAT", packer.compress(rows) + packer.flush())
    return joined([*chunks[:at], pixels, chunks[-1]]), Hope.READ


def _transparency(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    chunks = [chunk for chunk in _chunks(data) if chunk[0] != b"tRNS"]
    colour = chunks[0][1][9]
    sound = {GREY: b"\0\7", RGB: b"\0\1\0\2\0\3", PALETTE: b"\0\x80"}.get(colour)
    body = pick(rng, [sound, sound, b"", rng.bytes(300)])
    chunks.insert(_index(chunks, b"IDAT"), (b"tRNS", body or b""))
    return joined(chunks), Hope.READ if body and body == sound else Hope.READ_OR_REFUSED


def _checksum(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Break the checksum of the pixels, or of the chunk or the compressed data around them."""
    chunks = _chunks(data)
    if rng.random() < 0.5:
        body = _pixels(chunks)
        at = _index(chunks, b"IDAT")
        changed = (b"IDAT", pick(rng, [body[:-1] + b"?", body[:-4], body + rng.bytes(20)]))
        return joined([*chunks[:at], changed, chunks[-1]]), Hope.READ_OR_REFUSED
    at = data.index(pick(rng, [b"IHDR", b"IDAT", chunks[1][0]]))
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
    return data[:end] + rng.bytes(4) + data[end + 4 :], Hope.READ_OR_REFUSED


def _number_of_rows(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Pack fewer or more rows than declared, or nothing, without any other damage."""
    chunks = _chunks(data)
    at = _index(chunks, b"IDAT")
    rows = zlib.decompress(_pixels(chunks))
    rows = pick(rng, [rows[: int(rng.integers(len(rows)))], rows[:-1], rows + rows, rows + bytes(10**6), b""])
    return joined([*chunks[:at], (b"IDAT", zlib.compress(rows)), chunks[-1]]), Hope.READ_OR_REFUSED


def _lengths(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    positions = [match.start() - 4 for match in re.finditer(b"IHDR|PLTE|IDAT|IEND", data)]
    at, length = int(rng.choice(positions)), int(rng.choice([0, 1, 2**16, 2**31, 2**32 - 16, 2**32 - 1]))
    return data[:at] + struct.pack(">I", length) + data[at + 4 :], Hope.READ_OR_REFUSED


def _cut(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    return data[: int(rng.integers(0, len(data)))] + pick(rng, [b"", data[-END_BYTES:]]), Hope.READ_OR_REFUSED


def _palette(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Leave colours out that pixels have, or the whole palette; add colours, or a palette where there is none."""
    chunks = [chunk for chunk in _chunks(data) if chunk[0] != b"PLTE"]
    body = pick(
        rng, [b"", _colours(1), _colours(3), _colours(200), _colours(256), _colours(257), bytes(100_000), b"ab"]
    )
    for _ in range(int(rng.choice([0, 1, 1, 1, 2, 300]))):
        chunks.insert(pick(rng, [1, 1, len(chunks) - 1]), (b"PLTE", body))
    return joined(chunks), Hope.NONE


def _header(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    chunks = _chunks(data)
    header = bytearray(chunks[0][1])
    if rng.random() < 0.5:
        header[:8] = struct.pack(">II", int(rng.choice(SIDES)), int(rng.choice(SIDES)))
    else:
        header[int(rng.integers(8, 13))] = int(rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255]))
    chunks[0] = (b"IHDR", bytes(header))
    if rng.random() < 0.2:
        chunks.insert(1, (b"IDAT", zlib.compress(bytes(int(rng.choice([10**5, 10**7]))))))
    return joined(chunks), Hope.NONE


def _damaged_chunk(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    chunks = _chunks(data)
    at = int(rng.integers(1, len(chunks)))
    chunks[at] = (chunks[at][0], damaged(chunks[at][1], rng))
    return joined(chunks), Hope.NONE


def _order(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    chunks = _chunks(data)
    order = [chunks[int(index)] for index in rng.permutation(len(chunks))]
    return joined(order * int(rng.choice([1, 2, 1000]))), Hope.NONE


def _damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    return damaged(data, rng), Hope.NONE


CHANGES: tuple[Callable[[bytes, np.random.Generator], tuple[bytes, Hope]], ...] = (
    _around,
    _ancillary,
    _bad_checksum_of_ancillary,
    _animated,
    _split,
    _packed_otherwise,
    _transparency,
    _checksum,
    _number_of_rows,
    _lengths,
    _cut,
    _palette,
    _header,
    _damaged_chunk,
    _order,
    _damaged,
)
