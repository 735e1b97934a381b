"""PASCAL Context: 4998 training and 5105 validation images of VOC 2010, the 59 most frequent classes and background.

The order is that of the PNGs as they are commonly made, 0 = background and then alphabetical (MMSegmentation's converter,
from the annotation trainval_merged.json). The authors' own 59_labels.txt has another order. Background is a class here, as
in work that reports 60 classes.

Source: Mottaghi et al.: The Role of Context for Object Detection and Semantic Segmentation in the Wild, CVPR 2014;
www.cs.stanford.edu/~roozbeh/pascal-context. No colours are published; those here are generated. Terms: none are stated
for the annotations; images of PASCAL VOC, under Flickr's terms.
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.classes import generated_colors, number_classes
from lwseg_ros.datasets.labels import IdCode, listed
from lwseg_ros.datasets.listing import Files, check_folders, check_present, read_names
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

TREE = """\
  DIR/JPEGImages/2008_000002.jpg                images; DIR is the folder VOCdevkit/VOC2010
  DIR/SegmentationClassContext/2008_000002.png  labels, 8-bit, ids 0 to 59, 0 = background
  DIR/ImageSets/SegmentationContext/train.txt   names, one a line
  and the same list for val"""


@register_dataset("pascal_context")
def list_pascal_context(root: Path, split: str) -> Split:
    """List `train` or `val`, in the order of its list; raises DatasetError."""
    images = Files(root / "JPEGImages", ".jpg")
    labels = Files(root / "SegmentationClassContext", ".png", code=CODE)
    check_folders(root, split, [images.folder, labels.folder], TREE)
    names = read_names(root / "ImageSets" / "SegmentationContext" / f"{split}.txt", TREE)
    for files in (images, labels):
        there = files.names()
        check_present((files.path(name) for name in names if name not in there), TREE)
    pairs = tuple((images.path(name), labels.label(name)) for name in names)
    return Split("pascal_context", split, CLASSES, IGNORE_ID, pairs)
