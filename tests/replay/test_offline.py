"""Offline replay: the figures, the counts, and bags with bad frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bag_files import COMPRESSED_IMAGE, IMAGE_TOPIC, TYPES, header, painted_messages, stamp_ns, write_messages

from lwseg_ros.errors import BagError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.segmenter import Segmenter


def test_offline_replay(tmp_path: Path, tiny_model: ModelFile) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(5))
    steps: list[int] = []
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        result = replay_offline(path, segmenter, num_kept=3, progress=lambda total: lambda: steps.append(total))
    figures = result.figures()
    assert figures["frames"] == {"published": 5, "segmented": 5, "dropped": 0, "bad": 0, "dropped_by_cause": {}}
    assert figures["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert 0 < figures["engine_ms"]["p50"] <= figures["engine_ms"]["p95"]
    assert figures["rate_hz"] > 0
    assert figures["miou"] > 0.8  # the tiny model names painted colours
    assert figures["temporal_consistency"] > 0.95
    assert (figures["model"], figures["backend"]) == ("tiny.onnx", "onnxruntime")
    assert [frame.index for frame in result.kept] == [0, 2, 4]
    assert steps == [5] * 5


def test_a_corrupt_jpeg_is_one_bad_frame(tmp_path: Path, tiny_model: ModelFile) -> None:
    messages = painted_messages(4)
    broken = next(i for i, m in enumerate(messages) if m[0] == IMAGE_TOPIC and m[1] == stamp_ns(2))
    data = np.asarray(messages[broken][2].data)[:150]
    messages[broken] = (IMAGE_TOPIC, stamp_ns(2), TYPES[COMPRESSED_IMAGE](header(stamp_ns(2)), "jpeg", data))
    path = write_messages(tmp_path / "bag", messages)
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        figures = replay_offline(path, segmenter).figures()
    assert figures["frames"] == {"published": 4, "segmented": 3, "dropped": 0, "bad": 1, "dropped_by_cause": {}}
    assert figures["miou"] > 0.8


def test_a_bag_without_labels(tmp_path: Path, tiny_model: ModelFile) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(2, labels=False, compressed=False))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        assert replay_offline(path, segmenter).figures()["miou"] is None
        with pytest.raises(BagError, match="no label topic '/cam/label'"):
            replay_offline(path, segmenter, ground_truth=GroundTruth("/cam/label"))
