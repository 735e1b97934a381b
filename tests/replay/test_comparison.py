"""Two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lwseg_ros.errors import LwsegError
from lwseg_ros.replay.comparison import compare
from lwseg_ros.replay.run_folder import JudgedFrames, Run, read_run

CLASSES = ("road", "car")


def frames_of(right: list[list[int]], *, first: int = 0, period_s: float = 0.5) -> JudgedFrames:
    """Frames of 10 true pixels a class, of which so many are right; what is wrong is predicted as the other class."""
    hits = np.array(right)
    counts = np.stack([hits, np.full_like(hits, 10), hits + (10 - hits)[:, ::-1]], axis=-1)
    index = np.arange(first, first + len(hits))
    return JudgedFrames(index, (index * period_s * 1e9).astype(np.int64), counts)


def write_run(
    folder: Path, frames: JudgedFrames, *, bag: str = "aa", topic: str = "/cam/image", **other: object
) -> Path:
    folder.mkdir()
    figures = {
        "schema": 1,
        "bags": [{"path": "bag", "bytes": 1, "sha256": bag}],
        "topics": {"image": topic, "truth": "/cam/label"},
        "model": f"{folder.name}.onnx",
        "model_sha256": "00",
        "per_class_iou": dict.fromkeys(CLASSES),
        **other,
    }
    (folder / "report.json").write_text(json.dumps(figures))
    (folder / "rows.npz").write_bytes(frames.packed())
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    def write(name: str, *arguments: object, **options: object) -> Run:
        return read_run(write_run(tmp_path / name, *arguments, **options))  # type: ignore[arg-type]

    return write


def test_differences_by_hand(run: Callable[..., Run]) -> None:
    base = run("old", frames_of([[10, 10], [10, 5], [0, 10]]))
    new = run("new", frames_of([[10, 10], [10, 10], [0, 5], [10, 10]]))  # one more, which the old one has not judged
    comparison = compare(new, base)
    assert (comparison.pairing, comparison.frames, comparison.blocks) == (None, (3, 3), 2)
    # right of 30: road 20 and 20, car 25 and 25; predicted road 20 + 5 in both
    assert comparison.figures["miou"]["difference"] == pytest.approx(0)
    assert comparison.figures["pixel_accuracy"] == {
        "difference": 0,
        "low": -0.25,
        "high": 0.125,
    }  # blocks: 5 more of 40, 5 fewer of 20
    assert [(change["index"], change["before"], change["after"]) for change in comparison.changed] == [
        (2, 0.5, 0.25),
        (1, 0.75, 1.0),
    ]
    said = comparison.as_json()
    assert (said["run"], said["model"], said["paired"], said["frames"]) == (str(base.folder), "old.onnx", True, 3)


def test_iou_by_hand(run: Callable[..., Run]) -> None:
    comparison = compare(run("new", frames_of([[10, 10]])), run("old", frames_of([[10, 5]])))
    # road: 10 right of 10 true, 15 predicted; car: 5 right of 10 true, 5 predicted
    assert comparison.figures["per_class_iou"]["road"]["difference"] == pytest.approx(1 - 10 / 15)
    assert comparison.figures["per_class_iou"]["car"]["difference"] == pytest.approx(1 - 5 / 10)
    assert comparison.figures["miou"]["difference"] == pytest.approx(1 - (10 / 15 + 5 / 10) / 2)


def test_what_is_hard_for_both_does_not_widen_a_paired_interval(run: Callable[..., Run]) -> None:
    random = np.random.default_rng(1)
    hard = random.integers(2, 10, (60, 2))  # from frame to frame much differs, between the runs one pixel of road
    base, new = frames_of(hard.tolist()), frames_of((hard + np.array([1, 0])).tolist())
    paired = compare(run("new", new), run("old", base)).figures["pixel_accuracy"]
    other = run("other", base, bag="bb")
    unpaired = compare(run("new2", new), other)
    assert unpaired.pairing == "the bags differ"
    assert unpaired.changed == ()
    assert paired["difference"] == unpaired.figures["pixel_accuracy"]["difference"] == pytest.approx(0.05)
    assert paired["high"] - paired["low"] < 1e-9
    assert unpaired.figures["pixel_accuracy"]["low"] < 0.04


def test_a_class_that_nobody_has_is_of_no_iou(run: Callable[..., Run]) -> None:
    frames = JudgedFrames(np.arange(2), np.arange(2), np.array([[[5, 5, 5], [0, 0, 0]]] * 2))
    figures = compare(run("new", frames), run("old", frames)).figures
    assert figures["per_class_iou"]["car"] == {"difference": None, "low": None, "high": None}
    assert figures["miou"] == {"difference": 0, "low": 0, "high": 0}


def test_other_topics_are_not_paired(run: Callable[..., Run]) -> None:
    frames = frames_of([[10, 10]])
    pairing = compare(run("new", frames, topic="/rear"), run("old", frames)).pairing
    assert pairing == "the image topics differ, /rear and /cam/image"


def test_what_cannot_be_compared_is_refused(run: Callable[..., Run]) -> None:
    frames = frames_of([[10, 10]])
    base = run("old", frames)
    with pytest.raises(LwsegError, match=r"are of different classes \(road, bus; road, car\)"):
        compare(run("new", frames, per_class_iou=dict.fromkeys(("road", "bus"))), base)
    with pytest.raises(LwsegError, match=r"late holds no frame with ground truth that the other judged too"):
        compare(run("late", frames_of([[10, 10]], first=7)), base)
    with pytest.raises(LwsegError, match=r"none holds no frame with ground truth; there is nothing to compare"):
        compare(run("none", frames.take(np.zeros(0, int)), bag="bb"), base)


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    with pytest.raises(LwsegError, match=r"no run at .*nowhere: report.json is missing; name the folder that"):
        read_run(tmp_path / "nowhere")
    frames = frames_of([[10, 10]])
    folder = write_run(tmp_path / "run", frames)
    (folder / "rows.npz").write_bytes(b"PK damaged")
    with pytest.raises(LwsegError, match=r"the run at .*run cannot be read \("):
        read_run(folder)
    (folder / "rows.npz").unlink()
    with pytest.raises(LwsegError, match=r"no run at .*run: rows.npz is missing"):
        read_run(folder)
    with pytest.raises(LwsegError, match=r"is of schema 0, read is 1"):
        read_run(write_run(tmp_path / "older", frames, schema=0))
    with pytest.raises(LwsegError, match=r"rows.npz does not belong to the report.json beside it"):
        read_run(write_run(tmp_path / "mixed", frames, per_class_iou={"road": None}))
