"""Any folder that holds a folder of images for each class."""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.datasets.classification import ClassificationSplit, folder_names, pairs_of_classes
from lwseg_ros.datasets.listing import check_folders
from lwseg_ros.datasets.registry import register_classification_dataset
from lwseg_ros.errors import DatasetError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

TREE = """\
  DIR/train/CLASS/*.jpg  images, one folder a class, named as the class is
  DIR/val/CLASS/*.jpg    the same classes"""


@register_classification_dataset("image_folder")
def list_image_folder(root: Path, split: str) -> ClassificationSplit:
    """List DIR/SPLIT/CLASS/*.jpg; a class's index is its place among the sorted names. Raises DatasetError."""
    folder = root / split
    check_folders(root, split, [folder], TREE)
    class_names = folder_names(folder)
    if len(class_names) < 2:
        raise DatasetError(f"{folder} holds {len(class_names)} class folders, expected 2 or more as in\n{TREE}")
    return ClassificationSplit.of(
        "image_folder", split, class_names, folder, pairs_of_classes(folder, class_names, SUFFIXES, TREE)
    )
