"""Labelled picture folders: which photo goes with which label, and what the ids mean. No torch, no augmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lwseg_ros.datasets.ade20k import list_ade20k
from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID, CAMVID_TREE, list_camvid
from lwseg_ros.datasets.camvid_full import list_camvid_full
from lwseg_ros.datasets.cityscapes import list_cityscapes
from lwseg_ros.datasets.coco_stuff10k import list_coco_stuff10k
from lwseg_ros.datasets.folder import list_folder
from lwseg_ros.datasets.labels import CodedPath
from lwseg_ros.datasets.mapillary import list_mapillary
from lwseg_ros.datasets.pascal_context import list_pascal_context
from lwseg_ros.datasets.pictures import read_pair
from lwseg_ros.datasets.split import Split, figures_note
from lwseg_ros.errors import DatasetError

__all__ = [
    "CAMVID_CLASSES",
    "CAMVID_IGNORE_ID",
    "CAMVID_TREE",
    "DATASETS",
    "CodedPath",
    "Split",
    "figures_note",
    "load_split",
    "read_pair",
]

DATASETS: dict[str, Callable[[Path, str], Split]] = {
    "ade20k": list_ade20k,
    "camvid": list_camvid,
    "camvid_full": list_camvid_full,
    "cityscapes": list_cityscapes,
    "coco_stuff10k": list_coco_stuff10k,
    "folder": list_folder,
    "mapillary": list_mapillary,
    "pascal_context": list_pascal_context,
}


def load_split(name: str, root: str | Path, split: str) -> Split:
    """List a split's (photo, label) pairs; every file is known to exist afterwards.

    Args:
        name: a key of DATASETS.
        root: the data set's folder.
        split: `train`, `val` or whatever splits the folder holds.

    Raises:
        DatasetError: the data set is unknown, or the folder is not what it should be.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; known are: {', '.join(sorted(DATASETS))}")
    return DATASETS[name](Path(root), split)
