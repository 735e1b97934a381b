"""Two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lwseg_ros.commands.replay_common import comparison_in_words
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.metrics import ConfusionMatrix
from lwseg_ros.replay.comparison import compare
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.run_folder import Run, pack_rows, read_run

CLASSES = ("road", "car")
TRUTH_COUNTS = ("images", "messages", "matched", "judged", "unmatched", "ambiguous", "pixels")


def frames_of(right: list[list[int]], *, first: int = 0, period_s: float = 0.5) -> list[FrameRow]:
    """Frames of 10 true pixels a class, of which so many are right; what is wrong is predicted as the other class."""
    rows = []
    for index, hits in enumerate(right, first):
        confusion = ConfusionMatrix(2)
        confusion.counts += [[hits[0], 10 - hits[0]], [10 - hits[1], hits[1]]]
        rows.append(FrameRow(index, int(index * period_s * 1e9), cells=confusion.sparse.tobytes()))
    return rows


def write_run(
    folder: Path, frames: list[FrameRow], *, bag: str = "aa", topic: str = "/cam/image", **other: object
) -> Path:
    folder.mkdir()
    total = ConfusionMatrix(len(CLASSES))
    for frame in frames:
        assert frame.confusion is not None
        total.add_sparse(frame.confusion)
    figures = {
        "schema": 1,
        "frames": {"published": len(frames), "segmented": len(frames), "dropped": 0, "bad": 0, "dropped_by_cause": {}},
        "truth": {"topic": "/cam/label", **dict.fromkeys(TRUTH_COUNTS, 0), "pixels_masked": 0, "ignore_id": None},
        "latency_ms": dict.fromkeys(("p50", "p95", "p99")),
        "engine_ms": dict.fromkeys(("p50", "p95")),
        "boundary_iou": {"mean": None},
        "uncertainty": dict.fromkeys(("ece", "auroc", "aurc")),
        "confusion": {
            "classes": list(CLASSES),
            "counts": total.counts.tolist(),
            "unlabelled": total.unlabelled.tolist(),
        },
        "bags": [{"path": "bag", "bytes": 1, "sha256": bag}],
        "topics": {"image": topic, "truth": "/cam/label"},
        "requirements": [],
        "backend": "onnxruntime",
        "precision": "fp32",
        **dict.fromkeys(("fallback_reason", "verdict", "accepted", "intervals", "against", "rate_hz", "engine_hz")),
        **dict.fromkeys(("miou", "miou_present", "pixel_accuracy", "temporal_consistency")),
        "model": f"{folder.name}.onnx",
        "model_sha256": "00",
        "per_class_iou": dict.fromkeys(CLASSES),
        **other,
    }
    (folder / "report.json").write_text(json.dumps(figures))
    (folder / "rows.npz").write_bytes(pack_rows(frames))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    def write(name: str, *arguments: object, **options: object) -> Run:
        return read_run(write_run(tmp_path / name, *arguments, **options))  # type: ignore[arg-type]

    return write


def test_differences_by_hand(run: Callable[..., Run]) -> None:
    base = run("old", frames_of([[10, 10], [10, 5], [0, 10]]))
    new = run("new", frames_of([[10, 10], [10, 10], [0, 4], [10, 10]]))  # one more, which the old one has not judged
    against = compare(new, base)
    assert (against["run"], against["model"], against["unpaired_because"]) == (base.name, "old.onnx", None)
    assert against["frames"] == {"run": 3, "base": 3}
    # three frames are too few blocks for an interval
    accuracy = {"difference": pytest.approx((44 - 45) / 60), "low": None, "high": None}
    assert against["differences"]["pixel_accuracy"] == accuracy
    assert [(change["index"], change["before"], change["after"]) for change in against["changed"]] == [
        (2, 0.5, 0.2),
        (1, 0.75, 1.0),
    ]


def test_iou_by_hand(run: Callable[..., Run]) -> None:
    differences = compare(run("new", frames_of([[10, 10]])), run("old", frames_of([[10, 5]])))["differences"]
    # road: 10 right of 10 true, 15 predicted; car: 5 right of 10 true, 5 predicted
    assert differences["per_class_iou"]["road"]["difference"] == pytest.approx(1 - 10 / 15)
    assert differences["per_class_iou"]["car"]["difference"] == pytest.approx(1 - 5 / 10)
    assert differences["miou"]["difference"] == pytest.approx(1 - (10 / 15 + 5 / 10) / 2)


def test_what_is_hard_for_both_does_not_widen_a_paired_interval(run: Callable[..., Run]) -> None:
    random = np.random.default_rng(1)
    hard = random.integers(2, 10, (60, 2))  # from frame to frame much differs, between the runs one pixel of road
    base, new = frames_of(hard.tolist()), frames_of((hard + np.array([1, 0])).tolist())
    paired = compare(run("new", new), run("old", base))["differences"]["pixel_accuracy"]
    other = run("other", frames_of(random.permutation(hard).tolist()), bag="bb")
    against = compare(run("new2", new), other)
    unpaired = against["differences"]["pixel_accuracy"]
    assert (against["unpaired_because"], against["changed"]) == ("the bags differ", [])
    assert paired["difference"] == pytest.approx(unpaired["difference"]) == pytest.approx(0.05)
    assert paired["high"] - paired["low"] < 1e-9
    assert unpaired["low"] < 0.04
    assert unpaired["high"] > 0.06


def test_a_class_that_nobody_has_is_of_no_iou(run: Callable[..., Run]) -> None:
    confusion = ConfusionMatrix(2)
    confusion.counts[0, 0] = 5
    frames = [FrameRow(index, index * 10**9, cells=confusion.sparse.tobytes()) for index in range(12)]
    differences = compare(run("new", frames), run("old", frames))["differences"]
    assert differences["per_class_iou"]["car"] == {"difference": None, "low": None, "high": None}
    assert differences["miou"] == {"difference": 0, "low": 0, "high": 0}


def test_many_changes_are_cut_to_the_greatest(run: Callable[..., Run]) -> None:
    random = np.random.default_rng(2)
    base, new = (run(name, frames_of(random.integers(0, 11, (60, 2)).tolist())) for name in ("old", "new"))
    changes = [row["after"] - row["before"] for row in compare(new, base)["changed"]]
    assert len(changes) == 20
    assert changes == sorted(changes)
    assert changes[9] < 0 < changes[10]


def test_other_topics_are_not_paired(run: Callable[..., Run]) -> None:
    frames = frames_of([[10, 10]])
    against = compare(run("new", frames, topic="/rear"), run("old", frames))
    assert against["unpaired_because"] == "the image topics differ, /rear and /cam/image"


def test_blocks_of_other_drives_do_not_vary_together(run: Callable[..., Run]) -> None:
    random = np.random.default_rng(3)
    hits = random.integers(0, 11, (60, 2)).tolist()
    against = compare(run("new", frames_of(hits)), run("old", frames_of(hits), bag="bb"))
    difference = against["differences"]["pixel_accuracy"]
    assert difference["difference"] == 0
    assert difference["low"] < 0 < difference["high"]  # as many blocks, but not the same ones


def test_a_partial_run_is_named_though_its_frames_are_compared(run: Callable[..., Run]) -> None:
    base = run("old", frames_of([[10, 10]]), partial=True)
    against = compare(run("new", frames_of([[10, 10], [5, 5]])), base)
    assert against["unpaired_because"] is None
    assert against["partial"] == [base.name]
    assert comparison_in_words(against).endswith(f"over 1 frames that both judged; partial: {base.name}")
    whole = compare(run("newer", frames_of([[10, 10]])), run("older", frames_of([[10, 10]])))
    assert whole["partial"] == []
    assert comparison_in_words(whole).endswith("over 1 frames that both judged")


def test_what_cannot_be_compared_is_refused(run: Callable[..., Run]) -> None:
    frames = frames_of([[10, 10]])
    base = run("old", frames)
    with pytest.raises(LwsegError, match=r"are of different classes \(road, bus; road, car\)"):
        compare(Run("new", base.figures | {"per_class_iou": dict.fromkeys(("road", "bus"))}, base.rows), base)
    with pytest.raises(LwsegError, match=r"late and .*old have no judged frame in common"):
        compare(run("late", frames_of([[10, 10]], first=7)), base)
    with pytest.raises(LwsegError, match=r"none holds no frame with ground truth; there is nothing to compare"):
        compare(run("none", [], bag="bb"), base)


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
    with pytest.raises(LwsegError, match=r"mixed cannot be read \(ValueError: "):
        read_run(write_run(tmp_path / "mixed", frames, per_class_iou={"road": None}))


def test_runs_that_judged_other_pixels_are_not_compared(run: Callable[..., Run]) -> None:
    base, masked = run("old", frames_of([[10, 10], [5, 5]])), frames_of([[10, 10], [5, 5]])
    confusion = ConfusionMatrix(2)
    confusion.counts += [[5, 0], [0, 5]]  # what was wrong is masked out
    masked[1] = replace(masked[1], cells=confusion.sparse.tobytes())
    truth = base.figures["truth"] | {"pixels_masked": 10}
    message = r"judged other pixels, in frame 1 10 and 20 \(mask: True and False\); replay one of them again"
    with pytest.raises(LwsegError, match=message):
        compare(run("masked", masked, truth=truth), base)
    named = truth | {"mask": "bonnet.png", "mask_sha256": "5a" * 32}
    with pytest.raises(LwsegError, match=r"in frame 1 10 and 20 \(mask: 5a5a5a5a5a5a and False\); replay one"):
        compare(run("named", masked, truth=named), base)
    other = run("other", masked, bag="bb", truth=truth | {"ignore_id": 7}, partial=True)
    assert compare(other, base)["unpaired_because"] == (
        f"the bags differ, judged by other options (ignore_id: 7 and None, mask: True and False), {other.name} is partial"
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"cells": np.array([[4_000_000_000, 1]], np.uint32)}, "a cell is of no class"),
        ({"cells": np.array([[-1, 1]], np.int64)}, "'cells' is no uint32"),
        ({"cells": np.zeros(4, np.uint32)}, "'cells' is no uint32"),
        ({"ends": np.array([9, 2])}, "'ends' does not ascend"),
        ({"ends": np.array([-1, 2])}, "'ends' does not ascend"),
        ({"ends": np.array([1, 1])}, "'cells' and 'ends' are of different frames"),
        ({"ends": np.array([[1, 2]])}, "odd columns"),
        ({"ends": np.array([], np.int64)}, "odd columns"),
        ({"index": np.array([0.0, 1.0])}, "odd columns"),
        ({"index": np.array([1, 1])}, "a frame is there twice"),
        ({"cells": np.array([[0, 10], [0, 11]], np.uint32)}, "rows.npz and report.json are of different runs"),
        ({"index": np.array([{}, {}], object)}, "allow_pickle"),
    ],
)
def test_rows_that_are_damaged_or_of_another_run(tmp_path: Path, columns: dict[str, np.ndarray], message: str) -> None:
    confusion = ConfusionMatrix(2)
    confusion.counts[0, 0] = 10
    folder = write_run(
        tmp_path / "run", [FrameRow(index, index, cells=confusion.sparse.tobytes()) for index in range(2)]
    )
    assert len(read_run(folder).judged) == 2
    with np.load(folder / "rows.npz") as file:
        arrays = dict(file) | columns
    np.savez(folder / "rows.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(LwsegError, match=f"run cannot be read .*{message}"):
        read_run(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"bags": []},
        {"bags": [{"path": "bag"}]},
        {"bags": "bag"},
        {"truth": None},
        {"model": None},
        {"miou": "0.9"},
        {"accepted": "all"},
        {"accepted": {}},
        {"latency_ms": {"p50": 1.0}},
        {"topics": {}},
        {"requirements": [{}]},
        {"requirements": [{"requirement": 1}]},
        {"warnings": [1]},
        {"uncertainty": 3},
        {"per_class_iou": ["road", "car"]},
        {"confusion": {"classes": ["car", "road"], "counts": [], "unlabelled": []}},
        {"confusion": {"classes": ["road", "car"]}},
        {"miou": float("nan")},
    ],
)
def test_figures_that_are_damaged(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(LwsegError, match=r"run cannot be read \("):
        read_run(write_run(tmp_path / "run", frames_of([[10, 10]]), **changes))  # type: ignore[arg-type]
