"""Recorded predictions: what lies in the file, and that there is a whole one or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from support.bag_files import IMAGE_TOPIC, LABEL_TOPIC, painted_messages, write_messages
from support.limits import largest_file
from support.tiny_model import ACCEPTANCE, write_tiny_model

from lwseg_ros.imaging.drawing import overlay
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.prediction_recorder import ACCEPTED, LABEL, OVERLAY, UNCERTAINTY, RecordError
from lwseg_ros.segmenter import Segmenter


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_messages(tmp_path / "bag", painted_messages(4))


@pytest.fixture
def segmenter(tiny_model: ModelFile) -> Iterator[Segmenter]:
    with Segmenter.open(tiny_model.path, "onnxruntime") as opened:
        yield opened


def test_predictions_lie_beside_the_originals(tmp_path: Path, bag: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "made" / "recorded.mcap"
    replay_offline(bag, segmenter, record=path)
    with AnyReader([bag]) as reader:
        originals = {(c.topic, log_ns): bytes(raw) for c, log_ns, raw in reader.messages()}
    with AnyReader([path]) as reader:
        recorded = [
            (c.topic, log_ns, bytes(raw), reader.deserialize(raw, c.msgtype)) for c, log_ns, raw in reader.messages()
        ]
    assert {(t, log_ns): raw for t, log_ns, raw, _ in recorded if t.startswith("/cam")} == originals
    with Bag(bag) as opened:
        images = {message.log_ns: opened.image(message) for message in opened.messages(opened.topics[IMAGE_TOPIC])}
    topics = {topic for topic, *_ in recorded}
    assert topics == {LABEL, UNCERTAINTY, OVERLAY, IMAGE_TOPIC, LABEL_TOPIC, "/cam/camera_info"}
    palette = segmenter.manifest.palette_bgr
    for topic, log_ns, _, message in recorded:
        if topic.startswith("/cam"):
            continue
        expected = segmenter.segment([images[log_ns]])[0]
        pixels = message.data.reshape(48, message.step)
        assert message.header.frame_id == "cam"
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == log_ns
        picture = {
            LABEL: expected.label,
            UNCERTAINTY: expected.uncertainty,
            OVERLAY: overlay(images[log_ns], expected.label, palette).reshape(48, -1),
        }[topic]
        assert np.array_equal(pixels, picture)
        assert message.encoding == ("bgr8" if topic == OVERLAY else "mono8")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    # and it replays as the bag that it is of
    again = replay_offline(path, segmenter, topic=IMAGE_TOPIC, ground_truth=GroundTruth(LABEL_TOPIC))
    assert again.counts.segmented == 4


def test_the_accepted_pixels_of_a_model_that_has_any(tmp_path: Path, bag: Path) -> None:
    model = write_tiny_model(tmp_path / "accepting.onnx", acceptance=ACCEPTANCE)
    path = tmp_path / "recorded.mcap"
    with Segmenter.open(model.path, "onnxruntime") as segmenter:
        acceptance = segmenter.manifest.accepted_pixels()
        replay_offline(bag, segmenter, record=path)
    assert acceptance is not None
    pictures: dict[str, list[np.ndarray]] = {}
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            if connection.topic.startswith("/segment/"):
                message = reader.deserialize(raw, connection.msgtype)
                pictures.setdefault(connection.topic, []).append(message.data.reshape(48, message.step))
    assert len(pictures[ACCEPTED]) == 4
    for label, uncertainty, accepted in zip(*(pictures[t] for t in (LABEL, UNCERTAINTY, ACCEPTED)), strict=True):
        assert np.array_equal(accepted, acceptance.accepted(label, uncertainty))
        assert set(np.unique(accepted)) == {0, 255}


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path, bag: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "recorded.mcap"
    path.write_bytes(b"of before")

    def fail(total: int) -> object:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        replay_offline(bag, segmenter, record=path, progress=fail)  # type: ignore[arg-type]
    assert path.read_bytes() == b"of before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "recorded.mcap"]


def test_a_disk_without_room_is_said(tmp_path: Path, bag: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "recorded.mcap"
    with (
        largest_file(1000),
        pytest.raises(RecordError, match=r"cannot record to .*recorded\.mcap: File too large; choose another file"),
    ):
        replay_offline(bag, segmenter, record=path)
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"Not a directory|File exists"):
        replay_offline(bag, segmenter, record=tmp_path / "file" / "recorded.mcap")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "file"]
