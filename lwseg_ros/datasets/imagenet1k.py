"""ImageNet-1K (ILSVRC 2012): 1,281,167 training and 50,000 validation images of 1000 classes.

As image-net.org packs it, or Kaggle's "ImageNet Object Localization Challenge" the same files.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from lwseg_ros.datasets.classification import ClassificationSplit, folder_names, image_names, pairs_of_classes
from lwseg_ros.datasets.listing import check_folders, check_present, read_lines
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.registry import register_classification_dataset
from lwseg_ros.errors import DatasetError

NUM_CLASSES = 1000
WNID = re.compile(r"n\d{8}")
SUFFIXES = (".jpeg",)

TREE = """\
  DIR/train/n01440764/n01440764_10026.JPEG  images, 1000 folders, one a class
  DIR/val/n01440764/*.JPEG                  the same classes
or as Kaggle packs it
  DIR/ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.JPEG
  DIR/ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG
  DIR/ILSVRC/ImageSets/CLS-LOC/val.txt      the images of val, one a line: name number
  DIR/LOC_val_solution.csv                  their classes: ImageId,PredictionString"""


PROVENANCE = Provenance(
    title="ImageNet-1K",
    source="O. Russakovsky et al.: ImageNet Large Scale Visual Recognition Challenge, IJCV 115(3), 2015; image-net.org",
    terms="non-commercial research and education only, after registration; the images may not be passed on",
)


@register_classification_dataset("imagenet1k", PROVENANCE)
def list_imagenet1k(root: Path, split: str) -> ClassificationSplit:
    """List `train` or `val` in either layout; a class's index is its WordNet id's place among the sorted 1000.

    Raises DatasetError, also where fewer than 1000 classes are there, or one without an image.
    """
    kaggle = (root / "ILSVRC").is_dir()
    images = root / "ILSVRC" / "Data" / "CLS-LOC" if kaggle else root
    folder = images / split
    check_folders(root, split, [folder], TREE)
    if kaggle and split == "val":
        wnids = _wnids(images / "train", root, split)
        return ClassificationSplit.of("imagenet1k", split, wnids, folder, _flat_pairs(root, folder, wnids))
    wnids = _wnids(folder, root, split)
    return ClassificationSplit.of("imagenet1k", split, wnids, folder, pairs_of_classes(folder, wnids, SUFFIXES, TREE))


def _wnids(folder: Path, root: Path, split: str) -> list[str]:
    """Return the 1000 class folders of a folder, sorted."""
    check_folders(root, split, [folder], TREE)
    wnids = [name for name in folder_names(folder) if WNID.fullmatch(name)]
    if len(wnids) != NUM_CLASSES:
        raise DatasetError(
            f"{folder} holds {len(wnids)} class folders such as n01440764, ImageNet-1K has {NUM_CLASSES}: "
            f"unpack it wholly; expected\n{TREE}"
        )
    return wnids


def _flat_pairs(root: Path, folder: Path, wnids: list[str]) -> list[tuple[str, int]]:
    """Pair Kaggle's validation images, in the order of val.txt, with their classes."""
    index_of = {wnid: index for index, wnid in enumerate(wnids)}
    listing = root / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt"
    names = [line.split()[0] for line in read_lines(listing, TREE) if line.strip()]
    if not names:
        raise DatasetError(f"the list {listing} is empty; expected\n{TREE}")
    there = set(image_names(folder, SUFFIXES))
    check_present((folder / f"{name}.JPEG" for name in names if f"{name}.JPEG" not in there), TREE)
    solution = root / "LOC_val_solution.csv"
    # PredictionString: the class and a box, and the same again for each further object.
    classes = {
        row[0]: row[1].split(maxsplit=1)[0] for row in csv.reader(read_lines(solution, TREE)) if len(row) > 1 and row[1]
    }
    for name in names:
        if classes.get(name) not in index_of:
            said = f"the class {classes[name]!r}, which is none of train's," if name in classes else "no class"
            raise DatasetError(f"{solution} gives {said} for {name}; expected\n{TREE}")
    return [(f"{name}.JPEG", index_of[classes[name]]) for name in names]
