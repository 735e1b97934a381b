"""Bags: damaged files of both storages, and metadata whose words were changed."""

from __future__ import annotations

import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin
from support.bag_files import COMPRESSED_IMAGE, TYPES, header, painted_messages, write_messages
from support.tiny_model import painted_image

from fuzz.compressed import damaged
from fuzz.runner import pick, refused
from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.replay.bag import Bag

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


def check(seed: int) -> str:
    """Damage a bag; all that is in it is read, or refused as a bag or, one by one, as an image."""
    rng = np.random.default_rng([4, seed])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bag"
        shutil.copytree(pick(rng, sound_bags()), path)
        recording = next(file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
        kind = rng.choice(["bytes", "cut", "metadata", "text", "single"])
        if kind == "metadata":
            _change_metadata(path / "metadata.yaml", rng)
        elif kind == "text":
            text = damaged((path / "metadata.yaml").read_bytes(), rng)
            (path / "metadata.yaml").write_bytes(text)
        else:
            data = recording.read_bytes()
            recording.write_bytes(data[: int(rng.integers(len(data)))] if kind == "cut" else damaged(data, rng))
        if kind == "single":
            path = recording
        return _read_all(path)


def _read_all(path: Path) -> str:
    bad_images = 0
    try:
        with Bag(path) as bag:
            truth = bag.label_topic()
            images = bag.image_topic(exclude=truth.name if truth else None)
            bag.camera_info_topic(images)
            for message in bag.messages(images, *([truth] if truth else [])):
                if truth is not None and message.topic == truth.name:
                    label = bag.label(message)
                    assert label.ndim == 2
                    assert label.dtype == np.uint8
                    continue
                try:
                    image = bag.image(message)
                except ImageError as error:
                    refused(error)
                    bad_images += 1
                    continue
                assert image.ndim == 3
                assert image.dtype == np.uint8
    except BagError:
        return "refused with BagError"
    return "read but for images" if bad_images else "read"


@cache
def sound_bags() -> list[Path]:
    """Write small bags, in a folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="lwseg-fuzz-"))
    _, label = painted_image((48, 64), seed=3)
    png = cv2.imencode(".png", label)[1]
    compressed_label = ("/cam/label/compressed", 5, TYPES[COMPRESSED_IMAGE](header(5), "mono8; png compressed", png))
    return [
        write_messages(folder / f"{storage.name}-{index}", messages, storage)
        for storage in StoragePlugin
        for index, messages in enumerate(
            [
                painted_messages(3, size_hw=(24, 32)),
                painted_messages(2, size_hw=(24, 32), compressed=False),
                [*painted_messages(1, labels=False), compressed_label],
            ]
        )
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
