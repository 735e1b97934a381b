"""`lwseg demo`: the shipped bag, and the whole way through the live node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lwseg_ros.cli import main
from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID
from lwseg_ros.model.model_file import shipped_models
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.segmenter import Segmenter

MAX_BAG_BYTES = 12_000_000


def test_the_sample_bag_is_what_its_readme_says() -> None:
    assert sum(file.stat().st_size for file in SAMPLE_BAG.iterdir()) < MAX_BAG_BYTES
    with Bag(SAMPLE_BAG) as bag:
        [truth] = bag.label_topics()
        images = bag.image_topic()
        infos = bag.camera_info_topic(images)
        assert infos is not None
        assert (images.name, images.count) == ("/camera/image/compressed", 101)
        assert (truth.name, truth.count) == ("/camera/label", 101)
        assert (infos.name, infos.count) == ("/camera/camera_info", 101)
        stamps = [message.stamp_ns for message in bag.messages(images)]
        assert stamps == [message.stamp_ns for message in bag.messages(truth)]
        assert stamps == [message.stamp_ns for message in bag.messages(infos)]
        assert np.allclose(np.diff(stamps), 1e9 / 15, atol=2)
        ids: set[int] = set()
        for message in bag.messages(truth):
            label = bag.label(message)
            assert label.shape == (360, 480)
            assert bag.deserialize(message).header.frame_id == "camera"
            ids |= set(np.unique(label).tolist())
        assert ids == {info.id for info in CAMVID_CLASSES} | {CAMVID_IGNORE_ID}
        assert all(bag.image(message).shape == (360, 480, 3) for message in bag.messages(images))
        info = bag.deserialize(next(bag.messages(infos)))
        assert (info.height, info.width) == (360, 480)
        assert (info.k[2], info.k[5]) == (240.0, 180.0)
    readme = (SAMPLE_BAG / "README.md").read_text(encoding="utf-8")
    assert "Pattern Recognition Letters 30(2), 2009" in readme
    assert "not a calibration" in readme


@pytest.mark.integration
def test_the_demo_brings_every_frame_back(
    tmp_path: Path, tiny_camvid_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install 'lwseg_ros[ros]'")
    arguments = ["demo", "--model", str(tiny_camvid_model), "--backend", "onnxruntime", "-o", str(tmp_path / "demo")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "101 published, 101 segmented, 0 dropped, 0 bad" in printed
    assert str(tmp_path / "demo" / "report.html") in printed
    assert "validation figures" in printed
    assert "validation figures" in (tmp_path / "demo" / "report.html").read_text()
    figures = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert figures["frames"] == {"published": 101, "segmented": 101, "dropped": 0, "bad": 0, "dropped_by_cause": {}}
    assert figures["rate_hz"] == pytest.approx(15.0, rel=0.05)
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_keeps_its_figure_on_the_compressed_clip(name: str) -> None:
    with Segmenter.open(name) as segmenter:
        figures = replay_offline(SAMPLE_BAG, segmenter).figures()
        # measured at export, in PyTorch, on the lossless pictures of the same clip
        assert figures["miou"] == pytest.approx(segmenter.manifest.validation["miou"], abs=0.005)
