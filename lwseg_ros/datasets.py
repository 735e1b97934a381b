"""Labelled picture folders: which photo goes with which label, and what the ids mean. No torch, no augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lwseg_ros.errors import DatasetError
from lwseg_ros.model import ClassInfo

# The colours are those of the SegNet CamVid tutorial, so that pictures look as they do in the papers.
CAMVID_CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo(0, "sky", (128, 128, 128)),
    ClassInfo(1, "building", (128, 0, 0)),
    ClassInfo(2, "pole", (192, 192, 128)),
    ClassInfo(3, "road", (128, 64, 128)),
    ClassInfo(4, "pavement", (60, 40, 222)),
    ClassInfo(5, "tree", (128, 128, 0)),
    ClassInfo(6, "sign_symbol", (192, 128, 128)),
    ClassInfo(7, "fence", (64, 64, 128)),
    ClassInfo(8, "car", (64, 0, 128)),
    ClassInfo(9, "pedestrian", (64, 64, 0)),
    ClassInfo(10, "bicyclist", (0, 128, 192)),
)
CAMVID_IGNORE_ID = 11  # void

CAMVID_TREE = """\
  DIR/train/0001TP_006690.png       photos, 8-bit colour
  DIR/trainannot/0001TP_006690.png  labels of the same names, 8-bit grey, one class id a pixel (11 = ignored)
  DIR/train.txt                     optional: `image label` pairs relative to DIR, in playing order
  and the same for val"""


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        dataset: name of the data set, such as `camvid`.
        split: name of the split, such as `val`.
        classes: the classes, ids 0 to C - 1 in order.
        ignore_id: the label value that does not count, or None.
        pairs: (photo, label) files, in the recorded order.
    """

    dataset: str
    split: str
    classes: tuple[ClassInfo, ...]
    ignore_id: int | None
    pairs: tuple[tuple[Path, Path], ...]

    def check_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Check that a model's classes are this data set's; raises DatasetError naming the first that differs."""
        ours, theirs = [c.name for c in self.classes], [c.name for c in classes]
        if len(ours) != len(theirs):
            raise DatasetError(
                f"the model has {len(theirs)} classes, {self.dataset} has {len(ours)}: {', '.join(ours)}; "
                f"evaluate a model that was trained on {self.dataset}"
            )
        for class_id, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            if our != their:
                raise DatasetError(
                    f"class {class_id} is {their!r} in the model and {our!r} in {self.dataset}; "
                    f"evaluate a model that was trained on {self.dataset}"
                )


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


def read_pair(image_path: Path, label_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one photo and its label.

    Returns:
        image: uint8 BGR [H, W, 3].
        label: uint8 [H, W] class ids.

    Raises:
        DatasetError: a file cannot be read, the label is not 8-bit grey, or its size is not the photo's.
    """
    image = _read_picture(image_path, cv2.IMREAD_COLOR)
    label = _read_picture(label_path, cv2.IMREAD_UNCHANGED)
    if image is None or label is None:
        path = image_path if image is None else label_path
        raise DatasetError(f"cannot read {path}: missing, or no picture that OpenCV knows; check or replace it")
    if label.ndim != 2 or label.dtype != np.uint8:
        raise DatasetError(
            f"label {label_path} is {label.dtype} {label.shape}; it has to be 8-bit grey with one class id a pixel "
            "(a coloured label has to be converted to ids first)"
        )
    if image.shape[:2] != label.shape:
        raise DatasetError(
            f"label {label_path} is {label.shape[0]} x {label.shape[1]} pixels (height x width), its photo "
            f"{image_path} {image.shape[0]} x {image.shape[1]}; both have to be the same size"
        )
    return image, label


def _read_picture(path: Path, flags: int) -> np.ndarray | None:
    try:
        return cv2.imread(str(path), flags)
    except cv2.error:  # larger than OpenCV unpacks
        return None


def _camvid(root: Path, split: str) -> Split:
    if not root.is_dir():
        raise DatasetError(f"no folder {root}; expected\n{CAMVID_TREE}")
    listing = root / f"{split}.txt"
    if listing.is_file():
        pairs = _listed_pairs(root, listing)
    else:
        photos, labels = root / split, root / f"{split}annot"
        if not photos.is_dir() or not labels.is_dir():
            raise DatasetError(f"{root} holds no split {split!r}; expected\n{CAMVID_TREE}")
        pairs = [(photo, labels / photo.name) for photo in sorted(photos.glob("*.png"))]
    if not pairs:
        raise DatasetError(f"the split {split!r} in {root} is empty; expected\n{CAMVID_TREE}")
    for path in (path for pair in pairs for path in pair):
        if not path.is_file():
            raise DatasetError(f"{path} is missing; expected\n{CAMVID_TREE}")
    return Split("camvid", split, CAMVID_CLASSES, CAMVID_IGNORE_ID, tuple(pairs))


def _listed_pairs(root: Path, listing: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        names = line.split()
        if len(names) != 2:
            raise DatasetError(f"{listing}, line {number}: {line!r} is not `image label`; expected\n{CAMVID_TREE}")
        pairs.append((root / names[0], root / names[1]))
    return pairs


DATASETS: dict[str, Callable[[Path, str], Split]] = {"camvid": _camvid}
