"""A miniature data set in CamVid's real layout: street scenes of simple shapes in colours that a network learns in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID

SIZE_HW = (64, 96)
SEQUENCES = {"train": ("0001TP", "0006R0", "0016E5"), "val": ("0016E5",)}
SKY, BUILDING, POLE, ROAD, TREE, CAR = 0, 1, 2, 3, 5, 8


def paint_scene(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> tuple[np.ndarray, np.ndarray]:
    """Paint a street: sky over road, a building, a tree, a car, a pole, a strip of void.

    Returns image uint8 BGR [H, W, 3] and label uint8 [H, W] with CamVid's ids, 11 where void.
    """
    random = np.random.default_rng(seed)
    height, width = size_hw
    horizon = int(height * random.uniform(0.4, 0.6))
    label = np.full(size_hw, SKY, np.uint8)
    label[horizon:] = ROAD
    left = int(width * random.uniform(0, 0.4))
    label[height // 8 : horizon, left : left + width // 3] = BUILDING
    cv2.circle(label, (int(width * random.uniform(0.6, 0.9)), horizon - height // 8), height // 6, TREE, -1)
    car = int(width * random.uniform(0.1, 0.6))
    label[horizon - 4 : horizon + height // 5, car : car + width // 4] = CAR
    pole = int(width * random.uniform(0.1, 0.9))
    label[height // 6 : horizon + 6, pole : pole + 3] = POLE
    colors_bgr = np.array([c.color_rgb[::-1] for c in CAMVID_CLASSES], np.float32)
    shade = np.linspace(random.uniform(0.8, 1), random.uniform(0.8, 1), width)[None, :, None]
    image = colors_bgr[label] * shade + random.normal(0, 8, (*size_hw, 3))
    label[-3:] = CAMVID_IGNORE_ID
    return image.clip(0, 255).astype(np.uint8), label


def write_miniature(root: Path, train: int = 9, val: int = 3, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """Write the data set's folders and return its root; the training images are shared out among three sequences."""
    for split, count in (("train", train), ("val", val)):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        names = SEQUENCES[split]
        for index in range(count):
            image, label = paint_scene(index + 1000 * (split == "val"), size_hw)
            name = f"{names[index % len(names)]}_{index:06d}.png"
            assert cv2.imwrite(str(root / split / name), image)
            assert cv2.imwrite(str(root / f"{split}annot" / name), label)
    return root


def miniature_recipe(**changes: Any) -> dict[str, Any]:
    """Return a recipe for a small DWRSeg on the miniature; ``changes`` replace whole sections."""
    return {
        "network": {"name": "dwrseg_b", "options": {"sir_blocks": 1, "dwr2_blocks": 1, "dwr3_blocks": 1}},
        "dataset": {"name": "camvid"},
        "augmentation": {"crop_hw": [48, 64], "scale": [0.8, 1.25], "brightness": 0.2},
        "optimizer": {"kind": "adamw", "lr": 0.005, "weight_decay": 0.01},
        "schedule": {"steps": 8, "warmup_steps": 2},
        "batch_size": 4,
        "precision": "fp32",
        "ema_decay": 0.9,
        "workers": 0,
        "evaluate_every_epochs": 100,
        "checkpoint_every_steps": 3,
        **changes,
    }


def write_recipe(path: Path, **changes: Any) -> Path:
    """Write the miniature's recipe as YAML and return its path."""
    path.write_text(yaml.safe_dump(miniature_recipe(**changes)), encoding="utf-8")
    return path
