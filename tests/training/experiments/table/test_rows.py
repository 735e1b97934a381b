"""The table's arithmetic and how it is laid out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.experiments.table.files import picture_points
from lwseg_training.experiments.table.rows import Row, duration, equal_budgets, markdown_table, notes, training_cell
from support.camvid_miniature import miniature_recipe


def timed(p50: float, **changes: Any) -> dict[str, Any]:
    return {
        "runtime": "openvino",
        "library_version": "2026.1",
        "device": "Some CPU",
        "precision": "bf16",
        "latency_ms": {"p50": p50, "p95": 2 * p50, "p99": 3 * p50},
        **changes,
    }


FULL = Row(
    "ours",
    "dwrseg_b",
    steps=6900,
    epochs=150.0,
    images_seen=55200,
    training_seconds=5343.1,
    hardware="Some CPU, 2 cores",
    parameters=2_556_000,
    multiply_adds=4_580_000_000,
    input_size_hw=(360, 480),
    miou=0.73749,
    ece=0.0041,
    images=101,
    held_out={"0006R0": 0.5, "0001TP": 0.4},
    cpu=timed(34.84),
    gpu=timed(1.26, runtime="tensorrt", device="Some GPU"),
)


def test_a_full_row_and_an_empty_one() -> None:
    failed = Row("theirs", "pmsdsen", fault="the disk is full")
    assert markdown_table([FULL, failed], ["0006R0", "0001TP"]).splitlines() == [
        "| network | recipe | training | parameters | multiply-adds | validation mIoU | ECE | held-out mIoU"
        " | CPU latency p50 | GPU latency p50 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| `dwrseg_b` | `ours` | 6900 steps, 150 epochs, 1.5 h on Some CPU, 2 cores | 2.56 M | 4.58 G | 0.737 | 0.004"
        " | 0.450 | 34.8 ms | 1.3 ms |",
        "| `pmsdsen` | `theirs` | failed |  |  |  |  |  |  |  |",
    ]


def test_what_was_cross_fitted_stands_beside_what_was_held_out() -> None:
    fitted = replace(FULL, held_out_ece={"0006R0": 0.02, "0001TP": 0.01}, held_out_auroc={"0006R0": 0.9, "0001TP": 0.8})
    sequences = ["0006R0", "0001TP"]
    header, _, ours, theirs = (line.split(" | ") for line in markdown_table([fitted, FULL], sequences).splitlines())
    first = header.index("held-out mIoU")
    assert header[first : first + 3] == ["held-out mIoU", "held-out ECE", "held-out AUROC"]
    assert ours[first : first + 3] == ["0.450", "0.015", "0.850"]
    assert theirs[first : first + 3] == ["0.450", "", ""]
    assert any(
        line.startswith("Held-out ECE and AUROC: of the same runs") for line in notes([fitted], "d", "val", sequences)
    )


def test_accuracy_on_what_was_trained_on_is_not_in_the_picture() -> None:
    alone = replace(FULL, train_splits=("train",))
    both = replace(FULL, name="both", train_splits=("train", "val"), held_out={"0006R0": 0.7, "0001TP": 0.5})
    rows = [alone, replace(alone, name="other"), both]
    assert [point.label for point in picture_points(rows, "val")] == ["ours", "other"]
    assert [point.miou for point in picture_points(rows, "val", ["0006R0", "0001TP"])] == pytest.approx(
        [0.45, 0.45, 0.6]
    )
    assert picture_points([alone, both], "val") == []


def test_who_was_trained_on_the_validation_split_is_told() -> None:
    both = replace(FULL, name="both", train_splits=("train", "val"))
    alone = replace(FULL, train_splits=("train",))
    assert training_cell(both) == "train + val, 6900 steps, 150 epochs, 1.5 h on Some CPU, 2 cores"
    assert training_cell(alone) == training_cell(FULL)
    told = "Trained on `val` too, so that validation figures say nothing about unseen images: `both`."
    assert told in notes([alone, both], "camvid", "val")
    assert not any("Trained on" in line for line in notes([alone], "camvid", "val"))


def test_equal_budgets_get_letters_in_the_order_of_the_rows() -> None:
    rows = [Row(str(n), images_seen=seen) for n, seen in enumerate((400, 100, 300, 100, None, 400, None))]
    assert equal_budgets(rows) == {400: "A", 100: "B"}
    cells = [line.split(" | ")[3] for line in markdown_table(rows).splitlines()]
    assert cells == ["equal budget", "---", "A", "B", "", "B", "", "A", ""]
    assert "Rows with the same letter saw equally many training images: A 400, B 100." in notes(rows, "camvid", "val")


def test_columns_that_nothing_is_in_are_left_out() -> None:
    table = markdown_table([FULL, Row("other", images_seen=8)])
    assert "equal budget" not in table
    assert "held-out" not in table
    assert "GPU latency" in table
    assert "latency" not in markdown_table([Row("other", images_seen=8)])


def test_the_mean_over_held_out_sequences_needs_all_of_them() -> None:
    assert FULL.held_out_miou(["0001TP"]) == 0.4
    assert FULL.held_out_miou(["0006R0", "0001TP"]) == pytest.approx(0.45)
    assert FULL.held_out_miou(["0006R0", "0016E5"]) is None
    assert FULL.held_out_miou([]) is None


def test_the_training_cell_says_what_is_known() -> None:
    assert training_cell(Row("a", note="short run", steps=46, epochs=1.0, training_seconds=90.0)) == (
        "short run, 46 steps, 1 epochs, 2 min"
    )
    assert training_cell(Row("a", note="short run")) == "short run"
    assert training_cell(Row("a", note="short run", fault="no disk")) == "failed"


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (600, "10 min"), (3600, "1.0 h"), (36500, "10.1 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_notes_say_what_the_figures_are() -> None:
    assert notes([FULL, Row("theirs", fault="the disk is full")], "camvid", "val", ["0006R0", "0001TP"]) == [
        "Validation figures are those on `val` of `camvid` (101 images).",
        "Parameters count heads that only train, multiply-adds one inference at 360 x 480 pixels (height x width).",
        "Held-out mIoU: the recipe trained without a sequence and evaluated on it, mean over 0006R0, 0001TP.",
        "CPU latency: median of the calls, one image a call, on Some CPU (openvino 2026.1, bf16).",
        "GPU latency: median of the calls, one image a call, on Some GPU (tensorrt 2026.1, bf16).",
        "`theirs` failed: the disk is full",
    ]
    assert notes([], "camvid", "val") == []


def test_a_recipes_note_marks_a_short_run() -> None:
    assert not Row("a", note=parse_recipe(miniature_recipe()).note).is_short_run
    noted = parse_recipe(miniature_recipe(note="short run, from ImageNet"))
    assert Row("a", note=noted.note).is_short_run
    assert not Row("a", note="from ImageNet").is_short_run
