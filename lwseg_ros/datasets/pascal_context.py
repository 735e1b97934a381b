"""PASCAL Context: 4998 training and 5105 validation images of VOC 2010, the 59 most frequent classes and background.

The order is that of the PNGs as they are commonly made, 0 = background and then alphabetical (MMSegmentation's converter,
from the annotation trainval_merged.json), and that of the 59 among the 459 numbers of the MATLAB files. The authors' own
59_labels.txt has another order. Background is a class here, as
in work that reports 60 classes.

No colours are published; those here are generated.
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.classes import generated_colors, number_classes
from lwseg_ros.datasets.labels import IdCode, MatlabCode, listed
from lwseg_ros.datasets.listing import Files, check_folders, pair_by_list
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.datasets.split import Split

NAMES = """
background, aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car,
cat, ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse,
keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep, shelves,
sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window, wood
"""
CLASSES = number_classes(listed(NAMES), generated_colors(60, first=0))
IGNORE_ID = 255  # in no published file; cut or warped labels may hold it
CODE = IdCode({value: value for value in (*range(len(CLASSES)), IGNORE_ID)})

# The 59 among the 459 numbers of the annotations, in the order of their names; all others are background.
PUBLISHED_IDS = (
    *(2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98),
    *(104, 105, 113, 115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308),
    *(324, 326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458),
)
PUBLISHED_CODE = MatlabCode(
    "LabelMap", dict.fromkeys(range(460), 0) | {number: class_id for class_id, number in enumerate(PUBLISHED_IDS, 1)}
)

TREE = """\
  DIR/JPEGImages/2008_000002.jpg                images; DIR is the folder VOCdevkit/VOC2010
  DIR/SegmentationClassContext/2008_000002.png  labels, 8-bit, ids 0 to 59, 0 = background
  DIR/ImageSets/SegmentationContext/train.txt   names, one a line
  and the same list for val; or, as downloaded,
  DIR/trainval/2008_000002.mat                  labels, LabelMap: numbers 1 to 459
  DIR/ImageSets/Main/train.txt                  names, one a line, and the same for val: the lists of VOC 2010"""


PROVENANCE = Provenance(
    title="PASCAL Context",
    source="R. Mottaghi et al.: The Role of Context for Object Detection and Semantic Segmentation in the Wild, CVPR 2014; "
    "www.cs.stanford.edu/~roozbeh/pascal-context",
    terms="none are stated for the annotations; images of PASCAL VOC, under Flickr's terms",
)


@register_dataset("pascal_context", PROVENANCE)
def list_pascal_context(root: Path, split: str) -> Split:
    """List `train` or `val`, in the order of its list; raises DatasetError."""
    images = Files(root / "JPEGImages", ".jpg")
    labels, lists = Files(root / "SegmentationClassContext", ".png", code=CODE), "SegmentationContext"
    if not labels.folder.is_dir() and (root / "trainval").is_dir():
        labels, lists = Files(root / "trainval", ".mat", code=PUBLISHED_CODE), "Main"
    check_folders(root, split, [images.folder, labels.folder], TREE)
    pairs = pair_by_list(root / "ImageSets" / lists / f"{split}.txt", images, labels, TREE)
    return Split("pascal_context", split, CLASSES, IGNORE_ID, pairs)
