"""Bags: damaged files of both storages, and metadata whose words were changed."""

from __future__ import annotations

import re
import shutil
import struct
import sys
import tempfile
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from support.bag_files import COMPRESSED_IMAGE, IMAGE, TYPES, TYPESTORE, header, painted_messages, write_messages
from support.tiny_model import painted_image

from fuzz.damage import damaged
from fuzz.runner import pick, refused
from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.replay.bag import Bag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXTS = (
    "",
    "\0",
    "bgr8",
    "rgb8; png compressed",
    "BayerRG8",
    "bayer_rggb8; jpeg compressed",
    "32FC1",
    "é" * 300,
    "x" * 10**6,
)
WORDS = (
    "",
    "0",
    "-1",
    "99999999999999999999",
    "[]",
    "{}",
    "null",
    "mcap",
    "sqlite3",
    "zstd",
    "../bag",
    "!!python/name:os.system",
    "*a",
)


# A checksum of each image and label, by topic and log time.
Pixels = dict[tuple[str, int], int]


class Reading(NamedTuple):
    """What is in a bag: images and labels, how many of them cannot be decoded, and what is said of the rest."""

    pixels: Pixels
    num_refused: int
    warnings: list[str]


def check(seed: int) -> str:
    """Damage a bag; all that is in it is read, or refused as a bag or, one by one, as an image."""
    rng = np.random.default_rng([4, seed])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bag"
        kind = rng.choice(["bytes", "cut", "metadata", "text", "single", "messages", "messages"])
        if kind == "messages":
            sound = _write_with_damaged_messages(path, rng)
        else:
            source = pick(rng, sound_bags())
            sound = _sound_pixels(source)
            shutil.copytree(source, path)
        recording = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
        if kind == "metadata":
            _change_metadata(path / "metadata.yaml", rng)
        elif kind == "text":
            text = damaged((path / "metadata.yaml").read_bytes(), rng)
            (path / "metadata.yaml").write_bytes(text)
        elif kind != "messages":
            data = recording.read_bytes()
            recording.write_bytes(data[: int(rng.integers(len(data)))] if kind == "cut" else damaged(data, rng))
        if kind == "single":
            path = recording
        try:
            reading = read_all(path)
        except BagError as error:
            has_images = any("label" not in topic for topic, _ in sound)
            # where no label is left, nothing tells the labels' topic from the camera's
            if kind == "messages" and has_images and "several image topics" not in str(error):
                raise AssertionError(f"not read: {list(sound)}") from error
            return refused(error)
    if kind == "messages":
        assert {key: reading.pixels.get(key) for key in sound} == sound
    elif kind in ("metadata", "text"):
        assert reading.pixels == sound or reading.warnings
    return "read but for images" if reading.num_refused else "read"


def read_all(path: Path) -> Reading:
    """Read every image and label of a bag; raises BagError."""
    pixels: Pixels = {}
    num_refused = 0
    with Bag(path) as bag:
        truth = next((topic for topic in bag.label_topics() if topic.count), None)
        images = bag.image_topic()
        bag.camera_info_topic(images)
        for message in bag.messages(images, *([truth] if truth else [])):
            is_label = truth is not None and message.topic == truth.name
            documented = BagError if is_label else ImageError
            try:
                array = bag.label(message) if is_label else bag.image(message)
            except documented as error:
                refused(error)
                num_refused += 1
                continue
            assert array.ndim == (2 if is_label else 3)
            assert array.dtype == np.uint8
            pixels[message.topic, message.log_ns] = zlib.crc32(array.tobytes())
        return Reading(pixels, num_refused, bag.warnings)


@cache
def _sound_pixels(path: Path) -> Pixels:
    return read_all(path).pixels


def _write_with_damaged_messages(path: Path, rng: np.random.Generator) -> Pixels:
    """Write a bag in which messages are short, damaged or hold odd texts; return the pixels of the others."""
    number = int(rng.integers(len(recordings())))
    messages = recordings()[number]
    changed = {int(index) for index in rng.permutation(len(messages))[: int(rng.integers(1, len(messages) + 1))]}
    with Writer(path, version=8, storage_plugin=pick(rng, list(StoragePlugin))) as writer:
        connections: dict[str, Connection] = {}
        for index, (topic, log_ns, message) in enumerate(messages):
            msgtype = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=TYPESTORE)
            if index in changed and rng.random() < 0.3:
                message = _with_odd_texts(message, rng)
            raw = bytes(TYPESTORE.serialize_cdr(message, msgtype))
            writer.write(connections[topic], log_ns, _damaged_message(raw, rng) if index in changed else raw)
    unchanged = {(topic, log_ns) for index, (topic, log_ns, _) in enumerate(messages) if index not in changed}
    return {key: pixels for key, pixels in _sound_pixels(sound_bags()[number]).items() if key in unchanged}


def _with_odd_texts(message: Any, rng: np.random.Generator) -> Any:
    if message.__msgtype__ not in (IMAGE, COMPRESSED_IMAGE):
        return message
    field = "format" if message.__msgtype__ == COMPRESSED_IMAGE else "encoding"
    return replace(message, **{field: pick(rng, TEXTS)})


def _damaged_message(raw: bytes, rng: np.random.Generator) -> bytes:
    """Damage a serialized message: cut it, change its encapsulation or a length in it, pack it."""
    lengths = struct.pack("<I", pick(rng, [0, 1, 2**16, 2**31 - 1, 2**32 - 1]))
    at = 4 * int(rng.integers(1, min(20, len(raw) // 4)))
    changed = pick(
        rng,
        [
            raw,
            raw[: int(rng.integers(17))],
            raw[: int(rng.integers(len(raw)))],
            raw + rng.bytes(int(rng.integers(1, 9))),
            pick(rng, [b"\0\0", b"\0\2", b"\0\3", b"\0\7", b"\xff\xff"]) + raw[2:],
            raw[:at] + lengths + raw[at + 4 :],
            damaged(raw, rng),
            damaged(raw[:100], rng) + raw[100:],
            bytes(len(raw)),
        ],
    )
    packed = zstd.compress(changed)
    return pick(rng, [changed, changed, changed, packed, packed[: len(packed) // 2], damaged(packed, rng)])


@cache
def recordings() -> list[list[tuple[str, int, Any]]]:
    """Paint what is recorded: topic, log time and message of each."""
    _, label = painted_image((48, 64), seed=3)
    png = cv2.imencode(".png", label)[1]
    compressed_label = ("/cam/label/compressed", 5, TYPES[COMPRESSED_IMAGE](header(5), "mono8; png compressed", png))
    return [
        painted_messages(3, size_hw=(24, 32)),
        painted_messages(2, size_hw=(24, 32), compressed=False),
        [*painted_messages(1, labels=False), compressed_label],
    ]


@cache
def sound_bags() -> list[Path]:
    """Write all recordings in one storage, then in the other, in a folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="lwseg-fuzz-"))
    return [
        write_messages(folder / f"{storage.name}-{index}", messages, storage)
        for storage in StoragePlugin
        for index, messages in enumerate(recordings())
    ]


def _change_metadata(path: Path, rng: np.random.Generator) -> None:
    lines = path.read_text().splitlines(keepends=True)
    for _ in range(int(rng.choice([1, 1, 3]))):
        at = int(rng.integers(len(lines)))
        kind = rng.choice(["word", "delete", "repeat", "indent", "alias"])
        if kind == "word":
            lines[at] = re.sub(r"(:\s*).*", lambda match: match[1] + str(pick(rng, WORDS)), lines[at], count=1)
        elif kind == "delete":
            del lines[at]
        elif kind == "repeat":
            lines[at:at] = lines[at : at + 5] * int(rng.choice([1, 200]))
        elif kind == "indent":
            lines[at] = "  " + lines[at]
        else:
            lines.insert(0, f"a: &a {'[' * int(rng.choice([1, 3000]))}\n")
        if not lines:
            break
    path.write_text("".join(lines))
