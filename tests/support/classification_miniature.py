"""A miniature data set for classification: images of one colour a class, with noise, that a network learns in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

COLORS_BGR = {"grass": (40, 160, 60), "brick": (50, 60, 180), "water": (190, 120, 40)}


def write_images(root: Path, train: int = 6, val: int = 2, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """Write SPLIT/CLASS/*.png, so many images a class, and return the root."""
    for split, count in (("train", train), ("val", val)):
        for class_index, (name, color) in enumerate(COLORS_BGR.items()):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                random = np.random.default_rng([class_index, number, split == "val"])
                image = np.array(color) + random.normal(0, 30, (*size_hw, 3))
                assert cv2.imwrite(str(root / split / name / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
    return root


SHALLOW: dict[str, Any] = {"channels": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]}


def classification_recipe(**changes: Any) -> dict[str, Any]:
    """Return a recipe of pretraining for a small LeMoRe on the miniature; ``changes`` replace whole sections."""
    return {
        "network": {"name": "lemore", "options": {"size_hw": [32, 32], **SHALLOW}},
        "dataset": {"name": "image_folder"},
        "crop": {"size_hw": [32, 32], "area": [0.3, 1.0]},
        "label_smoothing": 0.1,
        "optimizer": {"kind": "adamw", "lr": 0.005, "weight_decay": 0.01},
        "schedule": {"steps": 4, "warmup_steps": 1},
        "batch_size": 6,
        "precision": "fp32",
        "ema_decay": 0.9,
        "workers": 0,
        "evaluate_every_epochs": 100,
        "checkpoint_every_steps": 2,
        **changes,
    }


def write_classification_recipe(path: Path, **changes: Any) -> Path:
    """Write the miniature's recipe as YAML and return its path."""
    path.write_text(yaml.safe_dump(classification_recipe(**changes)), encoding="utf-8")
    return path
