"""Predictions recorded for Rerun: what lies in the file by Rerun's own reader, and that there is a whole one or none."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.bag_files import IMAGE_TOPIC, painted_messages, write_messages
from support.limits import largest_file
from support.tiny_model import ACCEPTANCE, write_tiny_model

from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.prediction_recorder import RecordError
from lwseg_ros.replay.rerun_recorder import ACCEPTED, LABEL, MEAN_UNCERTAINTY, PHOTO, TIMELINE, UNCERTAINTY
from lwseg_ros.segmenter import Segmenter

FRAMES = 4
pytest.importorskip("rerun", reason="Rerun is not installed: pip install -e '.[view]'")


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_messages(tmp_path / "bag", painted_messages(FRAMES))


@pytest.fixture
def segmenter(tmp_path: Path) -> Iterator[Segmenter]:
    model = write_tiny_model(tmp_path / "accepting.onnx", acceptance=ACCEPTANCE)
    with Segmenter.open(model.path, "onnxruntime") as opened:
        yield opened


def columns(path: Path) -> dict[str, list[Any]]:
    """The values of every component in the order of time, by entity and component."""
    chunk = pytest.importorskip("rerun.chunk", reason="this version of Rerun cannot read its own files in Python")
    found: dict[str, list[Any]] = {}
    for part in chunk.RrdReader(path).stream().to_chunks():
        batch = part.to_record_batch()
        for name in batch.schema.names:
            column = batch.column(name)
            values = column.cast("int64") if str(column.type).startswith("timestamp") else column
            found.setdefault(f"{part.entity_path} {name}", []).extend(values.to_pylist())
    return found


def bytes_of(value: Any) -> np.ndarray:
    """The one buffer of a component, uint8 [N]."""
    (buffer,) = value
    return np.frombuffer(buffer, np.uint8) if isinstance(buffer, bytes) else np.array(buffer, np.uint8)


def test_the_file_holds_what_was_predicted(tmp_path: Path, bag: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "made" / "drive.rrd"
    result = replay_offline(bag, segmenter, record=path)
    found = columns(path)
    rows = Counter(name.split()[0] for name in found for _ in found[name])
    for entity in (PHOTO, LABEL, UNCERTAINTY, ACCEPTED, MEAN_UNCERTAINTY):
        assert rows[f"/{entity}"], entity
    labels, photos = found[f"/{LABEL} SegmentationImage:buffer"], found[f"/{PHOTO} EncodedImage:blob"]
    assert len(labels) == len(photos) == FRAMES
    with Bag(bag) as opened:
        images = [opened.image(message) for message in opened.messages(opened.topics[IMAGE_TOPIC])]
    for image, label, photo in zip(images, labels, photos, strict=True):
        assert np.array_equal(bytes_of(label), segmenter.segment([image])[0].label.ravel())
        decoded = cv2.imdecode(bytes_of(photo), cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - image).mean() < 5, "JPEG rounds, and mixed up colours are further off"
    means = np.array(found[f"/{MEAN_UNCERTAINTY} Scalars:scalars"]).ravel()
    assert means.tolist() == pytest.approx([row.mean_uncertainty for row in result.rows])
    assert found[f"/{LABEL} {TIMELINE}"] == [row.stamp_ns for row in result.rows]
    classes = str(found["/camera AnnotationContext:context"])
    assert all(info.name in classes for info in segmenter.manifest.classes)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_error_leaves_the_file_that_was_there(tmp_path: Path, bag: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "drive.rrd"
    path.write_bytes(b"of before")

    def fail(total: int) -> object:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        replay_offline(bag, segmenter, record=path, progress=fail)  # type: ignore[arg-type]
    assert path.read_bytes() == b"of before"
    assert not list(tmp_path.glob(".drive*"))


def test_a_disk_without_room_is_said(tmp_path: Path, bag: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "drive.rrd"
    with (
        largest_file(40_000),
        pytest.raises(RecordError, match=r"cannot record to .*drive\.rrd: .* choose another file"),
    ):
        replay_offline(bag, segmenter, record=path)
    assert not path.exists()
    assert not list(tmp_path.glob(".drive*"))


def test_without_rerun_it_is_said_how_to_get_it(
    tmp_path: Path, bag: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(RecordError, match=r"pip install 'lwseg_ros\[view\]', or record an \.mcap"):
        replay_offline(bag, segmenter, record=tmp_path / "drive.rrd")
