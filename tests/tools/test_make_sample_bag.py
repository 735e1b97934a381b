"""The script that made the sample bag: same pictures, same messages; and the shipped bag is its work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from lwseg_ros.replay.bag import Bag

SCRIPT = Path(__file__).parents[2] / "tools" / "make_sample_bag.py"


def run(data: Path, bag: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--data", str(data), "-o", str(bag)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write_clip(root: Path, numbers: tuple[int, ...]) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = {}
    (root / "val").mkdir(parents=True)
    (root / "valannot").mkdir()
    for number in numbers:
        labels[number] = rng.integers(0, 12, (36, 48), dtype=np.uint8)
        image = cv2.GaussianBlur(rng.integers(0, 256, (36, 48, 3), dtype=np.uint8), (0, 0), 3)
        assert cv2.imwrite(str(root / "val" / f"0016E5_{number:05}.png"), image)
        assert cv2.imwrite(str(root / "valannot" / f"0016E5_{number:05}.png"), labels[number])
    return labels


def messages(path: Path) -> list[tuple[str, int, bytes]]:
    with Bag(path) as bag:
        return [(m.topic, m.stamp_ns, m.raw) for m in bag.messages(*bag.topics.values())]


def test_the_same_pictures_give_the_same_messages(tmp_path: Path) -> None:
    labels = write_clip(tmp_path / "data", (60, 62, 64))
    for name in ("one", "two"):
        done = run(tmp_path / "data", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "3 frames" in done.stdout
    first = messages(tmp_path / "one")
    assert first == messages(tmp_path / "two")
    assert run(tmp_path / "data", tmp_path / "one").returncode == 0  # replaces the bag that is there
    assert first == messages(tmp_path / "one")
    with Bag(tmp_path / "one") as bag:
        [truth] = bag.label_topics()
        written = {message.stamp_ns: bag.label(message) for message in bag.messages(truth)}
    assert list(written) == [2_000_000_000, 2_066_666_666, 2_133_333_333]
    for label, expected in zip(written.values(), labels.values(), strict=True):
        assert np.array_equal(label, expected)


def test_what_it_cannot_read_is_said(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", tmp_path / "bag")
    assert done.returncode == 1
    assert done.stderr.startswith("make_sample_bag: no folder")
    assert not (tmp_path / "bag").exists()
