"""`lwseg evaluate` on a small CamVid-like folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from lwseg_ros.cli import main
from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID
from lwseg_ros.model.model_file import ModelFile, load_model, save_model


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Two images whose upper half is sky and lower half road; the left columns are not labelled."""
    root = tmp_path / "camvid"
    (root / "val").mkdir(parents=True)
    (root / "valannot").mkdir()
    label = np.zeros((48, 64), np.uint8)
    label[24:] = 3
    colors_bgr = np.array([info.color_rgb[::-1] for info in CAMVID_CLASSES], np.uint8)
    image = colors_bgr[label]
    label[:, :16] = CAMVID_IGNORE_ID
    label[:12, 16:] = 5  # called tree, painted as sky
    for name in ("a.png", "b.png"):
        assert cv2.imwrite(str(root / "val" / name), image)
        assert cv2.imwrite(str(root / "valannot" / name), label)
    return root


def arguments(model: Path, root: Path) -> list[str]:
    return ["evaluate", str(model), "--backend", "onnxruntime", "--dataset", "camvid", "--data", str(root)]


def test_figures(tiny_camvid_model: Path, camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(tiny_camvid_model, camvid), "--split", "val", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 2
    iou = figures["per_class_iou"]
    # a quarter of the evaluated rows is called tree but is painted as sky; the border of sky and road may be off by a row
    assert iou["sky"] == pytest.approx(0.5, abs=0.05)
    assert iou["tree"] == 0.0
    assert iou["road"] > 0.9
    assert iou["car"] is None
    assert figures["pixel_accuracy"] == pytest.approx(0.75, abs=0.05)
    present = [value for value in iou.values() if value is not None]
    assert figures["miou"] == pytest.approx(np.mean(present))
    assert figures["precision"] == "fp32"  # of the arithmetic
    assert figures["per_class_recall"]["tree"] == 0.0
    assert figures["per_class_precision"]["sky"] == pytest.approx(0.5, abs=0.05)
    assert [region["rows"] for region in figures["regions"]] == [[0, 16], [16, 32], [32, 48]]
    assert 0 < figures["boundary_iou"]["mean"] < 1
    assert main([*arguments(tiny_camvid_model, camvid), "--split", "val"]) == 0
    printed = capsys.readouterr().out
    assert "camvid val, 2 images" in printed
    assert f"mIoU               {figures['miou']:.4f}" in printed
    assert f"boundary IoU       {figures['boundary_iou']['mean']:.4f}" in printed
    assert "  IoU tree           0.0000  precision      -  recall 0.0000  ECE      -\n" in printed


def test_figures_of_a_split_that_was_trained_on_say_so(
    tiny_camvid_model: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(tiny_camvid_model)
    for splits, note in ((["train", "val"], "(trained on)"), ("train", "(validation figures)")):
        recipe = {"dataset": {"name": "camvid", "train_split": splits}}
        manifest = replace(model.manifest, training={"recipe": recipe})
        save_model(onnx.load_from_string(model.data), manifest, tiny_camvid_model)
        assert main([*arguments(tiny_camvid_model, camvid), "--split", "val"]) == 0
        assert f"camvid val, 2 images {note}\n" in capsys.readouterr().out
    assert not manifest.trained_on("folder", "train")
    assert manifest.trained_on("camvid_full", "train")


def test_a_model_is_held_to_what_it_vouches_for(
    tiny_camvid_model: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(tiny_camvid_model)
    thresholds = [254, *[None] * 2, 254, *[None] * 7]  # sky and road
    acceptance = {"level": 0.1, "confidence": 0.9, "thresholds": thresholds}
    save_model(onnx.load_from_string(model.data), replace(model.manifest, acceptance=acceptance), tiny_camvid_model)
    assert main([*arguments(tiny_camvid_model, camvid), "--split", "val", "--json"]) == 0
    accepted = json.loads(capsys.readouterr().out)["accepted"]
    assert accepted["not_met"] == ["sky"]  # half of it is called tree
    assert accepted["per_class"]["sky"]["error_rate"] == pytest.approx(0.5, abs=0.05)
    assert accepted["per_class"]["road"]["met"]
    assert main([*arguments(tiny_camvid_model, camvid), "--split", "val"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("accepted           100.0% of the pixels, ")
    assert line.endswith(f"not met by sky ({accepted['per_class']['sky']['error_rate']:.1%})")


def test_what_cannot_be_evaluated(
    tiny_camvid_model: Path, camvid: Path, tiny_model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(tiny_camvid_model, camvid), "--split", "test"]) == 1
    assert "holds no split 'test'" in capsys.readouterr().err
    assert main([*arguments(tiny_model.path, camvid), "--split", "val"]) == 1
    assert "the model has 5 classes, camvid has 11" in capsys.readouterr().err
    assert cv2.imwrite(str(camvid / "valannot" / "b.png"), np.zeros((48, 65), np.uint8))
    assert main([*arguments(tiny_camvid_model, camvid), "--split", "val"]) == 1
    assert "both have to be the same size" in capsys.readouterr().err
    assert main(["evaluate", str(tiny_camvid_model), "--dataset", "kitty", "--data", "x", "--split", "val"]) == 2


def test_a_folder_is_evaluated_without_a_bag_library() -> None:
    program = "import sys, lwseg_ros.commands.evaluate; sys.exit('rosbags' in sys.modules or 'rclpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
