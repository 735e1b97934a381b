"""Rows of frames and the CSV that they are written to."""

from __future__ import annotations

import csv
import io

import numpy as np
from support.clip_predictions import clip_predictions

from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_ros.replay.rows import COLUMNS, FrameRow, frames_csv


def test_csv_by_hand() -> None:
    rows = [
        FrameRow(0, 1_600_000_000_123_456_789, 12.5, None, 0.75, 0.5, 0.1, None, 0.2, 1, np.zeros((1, 2), np.uint32)),
        FrameRow(1, 7, cause='broken, "bad"'),
    ]
    assert frames_csv(rows) == (
        "index,stamp_ns,latency_ms,cause,pixel_accuracy,miou,mean_uncertainty,accepted_share\r\n"
        "0,1600000000123456789,12.5,,0.75,0.5,0.1,\r\n"
        '1,7,,"broken, ""bad""",,,,\r\n'
    )
    read = list(csv.DictReader(io.StringIO(frames_csv(rows))))
    assert tuple(read[0]) == COLUMNS
    assert int(read[0]["stamp_ns"]) == rows[0].stamp_ns
    assert read[1]["cause"] == rows[1].cause


def test_the_counts_of_a_real_frame_are_small_and_give_its_figures() -> None:
    manifest, pairs = clip_predictions()
    evaluator = Evaluator.of_model(manifest)
    for truth, prediction in pairs:
        counts = evaluator.add(prediction, truth)
        assert counts is not None
        cells = counts.confusion.sparse
        assert cells.nbytes < 1000  # 30 MB in 30,000 frames
        again = Evaluator.of_model(manifest).confusion
        again.add_sparse(cells)
        assert np.array_equal(again.counts, counts.confusion.counts)
        assert again.pixel_accuracy == counts.confusion.pixel_accuracy
