"""JPEG streams: a sound one of every kind, and what may become of them on their way."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from support import arithmetic_jpegs

from fuzz.damage import Hope, damaged
from fuzz.runner import pick

SIDES = (0, 1, 7, 16, 255, 256, 480, 4096, 8192, 8193, 16384, 65500, 65535)
LARGE_SHARE = 0.005  # they take a hundred times as long
START, END, SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# Within a scan, where it may be followed by other scans.
MARKER = re.compile(rb"\xff[\xc4\xd0-\xd7\xd9\xda]")
# What application segments begin with, but for those that tell the colours.
APPLICATIONS = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0", b"AVI1", b"JFXX\0\x10", b"")


def sound_jpegs(image: np.ndarray) -> list[bytes]:
    """Encode an image uint8 BGR [H, W, 3] in every way that encoders offer."""
    grey = image[..., 0]
    restarts, progressive = cv2.IMWRITE_JPEG_RST_INTERVAL, cv2.IMWRITE_JPEG_PROGRESSIVE
    factor, f444 = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    encoded = [
        cv2.imencode(".jpg", pixels, settings)[1].tobytes()
        for pixels, settings in [
            (image, []),
            (image[:61, :89], [cv2.IMWRITE_JPEG_QUALITY, 40]),
            (image[:5, :3], []),
            (image, [factor, f444]),
            (image, [factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]),
            (image, [factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]),
            (image, [cv2.IMWRITE_JPEG_OPTIMIZE, 1]),
            (image, [restarts, 1]),
            (image, [restarts, 6]),
            (image, [progressive, 1]),
            (image, [progressive, 1, restarts, 6]),
            (grey, []),
            (grey, [restarts, 5]),
            (grey, [progressive, 1]),
        ]
    ]
    four = np.ascontiguousarray(np.dstack([image, grey]))
    return [*encoded, simplejpeg.encode_jpeg(four, colorspace="CMYK"), _cmyk(four), _cmyk(four, progressive=True)]


def _cmyk(pixels: np.ndarray, **settings: bool) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, "CMYK").save(file, "JPEG", **settings)
    return file.getvalue()


def changed_jpeg(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Change a sound JPEG, and say what is left of it; a few are as large as what is accepted."""
    if rng.random() < LARGE_SHARE:
        return _large(rng), Hope.NONE
    if rng.random() < 0.1:
        data = _with_segments(data, rng, [_application(rng) for _ in range(int(rng.choice([1, 30])))])
    return pick(rng, CHANGES)(data, rng)


def _head(data: bytes) -> tuple[list[bytes], bytes]:
    """Split a sound stream into its segments up to the first scan's header, and the rest."""
    segments, at = [], len(START)
    while not segments or segments[-1][:2] != SCAN:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at:end])
        at = end
    return segments, data[at:]


def _joined(segments: list[bytes], rest: bytes) -> bytes:
    return START + b"".join(segments) + rest


def _frame_of(segments: list[bytes]) -> int:
    return next(index for index, segment in enumerate(segments) if segment[1] in (0xC0, 0xC1, 0xC2))


def _has_several_scans(data: bytes) -> bool:
    return SCAN in _head(data)[1]


def _with_segments(data: bytes, rng: np.random.Generator, new: list[bytes]) -> bytes:
    """Put segments before others of the head, the first of which may have to stay the first."""
    segments, rest = _head(data)
    for segment in new:
        segments.insert(int(rng.integers(1, len(segments))), segment)
    return _joined(segments, rest)


def _application(rng: np.random.Generator) -> bytes:
    """Make an application segment or a comment, some with a preview in them."""
    body = pick(rng, APPLICATIONS)
    body += pick(rng, [b"", rng.bytes(40), rng.bytes(2000), bytes(65_000), _preview()])
    marker = pick(rng, [0xE0, 0xE1, 0xE2, 0xE9, 0xED, 0xEF, 0xFE])
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


@cache
def _preview() -> bytes:
    return cv2.imencode(".jpg", np.full((32, 32, 3), 90, np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


def _no_marker(rng: np.random.Generator) -> bytes:
    """Make bytes that begin no segment: none of them 0xFF, or 0xFF and what follows it nowhere but in a scan."""
    kinds = [
        rng.integers(0, 0xFF, int(rng.integers(1, 20)), dtype=np.uint8).tobytes(),
        b"\xff\0",
        b"\xff\1",
        b"\xff\x7f",
    ]
    return b"".join(pick(rng, [*kinds, b"\0" * 300, b"\xff\xd0", b"\xff\xd7"]) for _ in range(int(rng.integers(1, 4))))


@cache
def large_jpegs() -> list[bytes]:
    """Make JPEGs of one colour, nearly as large as what is accepted."""
    grey = np.full((5000, 8192), 128, np.uint8)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    images = [(grey, []), (grey, progressive), (cv2.merge([grey[:4000]] * 3), progressive)]
    return [cv2.imencode(".jpg", pixels, settings)[1].tobytes() for pixels, settings in images]


def _large(rng: np.random.Generator) -> bytes:
    stream = pick(rng, large_jpegs())
    segments, rest = _head(stream)
    changed = [
        stream,
        stream[:-2] + b"frame 7" + END,
        stream[: int(rng.integers(len(stream)))],
        stream[: -len(rest) // 2] + END,
        stream[:-2] + stream[stream.rindex(SCAN) : -2] * int(rng.choice([1, 5, 50])) + END,
        _joined(segments, damaged(rest, rng)),
    ]
    return pick(rng, changed)


# The changes, each of a stream without damage. Those that may cost no pixel come first.


def _applications(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    number = int(rng.choice([1, 3, 100, 1500], p=[0.4, 0.4, 0.19, 0.01]))
    return _with_segments(data, rng, [_application(rng)] * number), Hope.READ


def _stray_between_segments(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    segments, rest = _head(data)
    for at in rng.permutation(len(segments))[: int(rng.integers(1, 4))]:
        segments[at] = _no_marker(rng) + segments[at]
    return _joined(segments, rest), Hope.READ


def _fill_bytes(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    segments, rest = _head(data)
    fill = b"\xff" * int(rng.choice([1, 2, 7, 500]))
    segments = [fill * int(rng.integers(2)) + segment for segment in segments]
    return _joined(segments, MARKER.sub(lambda match: fill * int(rng.integers(2)) + match[0], rest)), Hope.READ


def _repeated_tables(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    segments, rest = _head(data)
    tables = [segment for segment in segments if segment[1] in (0xC4, 0xDB, 0xDD)]
    return _joined([segments[0], *tables * int(rng.choice([1, 5, 100])), *segments[1:]], rest), Hope.READ


def _repeated_start(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    if rng.random() < 0.2:
        return pick(rng, [b"\0", b"\r\n", b"frame 7", rng.bytes(9)]) + data, Hope.READ_OR_REFUSED
    return pick(rng, [START, START * 9, START + _no_marker(rng)]) + data, Hope.READ


def _rubbish_around_the_end(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Put anything before the end, after it, or in place of it."""
    rubbish = pick(
        rng,
        [
            rng.bytes(int(rng.integers(1, 60))),
            bytes(int(rng.integers(1, 5000))),
            b"frame 7",
            b"\xff\xff\xff",
            struct.pack(">BBHH", 0xFF, 0xDC, 4, 64),
        ],
    )
    if b"\xff" in rubbish[:-1] or _has_several_scans(data):  # random markers may be those of another image
        return data + rubbish, Hope.READ
    return pick(rng, [data + rubbish, data[:-2] + rubbish + END, data[:-2]]), Hope.READ


def _stray_before_markers(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    segments, rest = _head(data)
    number = int(rng.integers(1, 20))

    def with_stray(match: re.Match[bytes]) -> bytes:
        return rng.integers(0, 0xFF, number, dtype=np.uint8).tobytes() + match[0]

    # In several scans, restart markers are not looked at.
    marker = rb"\xff\xd9" if _has_several_scans(data) else rb"\xff[\xd0-\xd9]"
    return _joined(segments, re.sub(marker, with_stray, rest)), Hope.READ


def _more_scans(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    repeated = data[data.rindex(SCAN) : -2] * int(rng.choice([1, 2, 8, 80, 99, 1000]))
    return data[:-2] + repeated + data[-2:], Hope.READ_OR_REFUSED


def _cut(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    return data[: int(rng.integers(0, len(data)))] + pick(rng, [b"", b"\xff", END]), Hope.READ_OR_REFUSED


def _restarts(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Number restart markers otherwise, lose or repeat them with or without their interval, or declare another interval."""
    segments, rest = _head(data)
    marks = [match.start() for match in RESTART.finditer(rest)]
    declared = struct.pack(">BBHH", 0xFF, 0xDD, 4, int(rng.choice([0, 1, 2, 5, 7, 12, 65535])))
    if not marks or rng.random() < 0.2:
        return _joined([*segments[:-1], declared, segments[-1]], rest), Hope.READ_OR_REFUSED
    at = int(rng.integers(len(marks)))
    first, second = marks[at], [*marks, len(rest) - 2][min(len(marks), at + int(rng.choice([1, 1, 2])))]
    changed = {
        "number": rest[: first + 1] + bytes([0xD0 + int(rng.integers(8))]) + rest[first + 2 :],
        "marker": rest[:first] + rest[first + 2 :],
        "interval": rest[:first] + rest[second:],
        "emptied": rest[: first + 2] + rest[second:],
        "repeated": rest[:second] + rest[first:],
        "all": RESTART.sub(lambda _: b"\xff" + bytes([0xD0 + int(rng.integers(8))]), rest),
    }
    return _joined(segments, pick(rng, list(changed.values()))), Hope.READ_OR_REFUSED


def _lines(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Tell the number of lines behind the scan, as the standard allows; no decoder here does."""
    segments, rest = _head(data)
    at = _frame_of(segments)
    frame = segments[at]
    lines = b"\xff\xdc\0\4" + pick(rng, [frame[5:7], b"\0\0", b"\xff\xff"])
    segments[at] = frame[:5] + pick(rng, [b"\0\0", frame[5:7]]) + frame[7:]
    return _joined(segments, rest[:-2] + lines + END), Hope.READ_OR_REFUSED


def _header(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Declare another size, precision, coding, sampling or component."""
    segments, rest = _head(data)
    at = _frame_of(segments)
    frame = bytearray(segments[at])
    kind = rng.choice(["size", "coding", "precision", "byte"])
    if kind == "size":
        frame[5:9] = struct.pack(">HH", int(rng.choice(SIDES)), int(rng.choice(SIDES)))
    elif kind == "coding":
        frame[1] = int(rng.integers(0xC0, 0xD0))
    elif kind == "precision":
        frame[4] = pick(rng, [0, 1, 2, 7, 9, 10, 12, 16, 255])
    else:
        frame[int(rng.integers(len(frame)))] = int(rng.integers(256))
    segments[at] = bytes(frame)
    return _joined(segments, rest) + bytes(int(rng.choice([0, 0, 0, 200_000]))), Hope.NONE


def _colours(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Leave out what tells the colours, or tell others."""
    segments, rest = _head(data)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([int(rng.integers(4))])
    jfif = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    others = [segment for segment in segments if segment[1] not in (0xE0, 0xEE)]
    return _joined([*pick(rng, [[], [adobe], [jfif], [jfif, adobe], [adobe, adobe[:-9]]]), *others], rest), Hope.NONE


def _any_segments(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    marker, length = int(rng.integers(0xC0, 0xFF)), int(rng.integers(0, 65536))
    segment = struct.pack(">BBH", 0xFF, marker, length) + rng.bytes(40)
    at = int(rng.integers(2, len(data) - len(_head(data)[1])))
    return data[:at] + segment * int(rng.choice([1, 1, 2, 300, 3000])) + data[at:], Hope.NONE


def _damaged_scan(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    segments, rest = _head(data)
    return _joined(segments, damaged(rest, rng)), Hope.NONE


def _damaged(data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    return damaged(data, rng), Hope.NONE


def _arithmetic(_data: bytes, rng: np.random.Generator) -> tuple[bytes, Hope]:
    """Take another stream, whose missing pixels libjpeg does not notice."""
    stream = pick(rng, [arithmetic_jpegs.SEQUENTIAL, arithmetic_jpegs.PROGRESSIVE])
    return pick(rng, [stream, stream[:-30], stream[:-30] + END, damaged(stream, rng)]), Hope.NONE


CHANGES: tuple[Callable[[bytes, np.random.Generator], tuple[bytes, Hope]], ...] = (
    _applications,
    _stray_between_segments,
    _fill_bytes,
    _repeated_tables,
    _repeated_start,
    _rubbish_around_the_end,
    _stray_before_markers,
    _more_scans,
    _cut,
    _restarts,
    _lines,
    _header,
    _colours,
    _any_segments,
    _damaged_scan,
    _damaged,
    _arithmetic,
)
