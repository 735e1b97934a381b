"""COCO-Stuff 10K: 9000 training and 1000 test images, 80 things and 91 kinds of stuff, as downloaded or converted.

The published MATLAB files hold ids 1 to 182, of which 11 occur nowhere: street sign, hat, shoe, eye glasses, plate, mirror,
window, desk, door, blender, hair brush; 0 = unlabelled. Converters, that of MMSegmentation being the common one, close the gaps
and write PNGs with 1 to 171. PNGs of the 164K release end in the same letters but count from 0, and
255 = unlabelled; they are refused where they hold a 255.

Names and their order are those of labels.txt of github.com/nightrome/cocostuff. No colours are published; those here are generated.
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.classes import generated_colors, number_classes
from lwseg_ros.datasets.labels import IGNORE_ID, IdCode, MatlabCode, listed
from lwseg_ros.datasets.listing import Files, check_folders, pair_by_list, pair_by_name
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.datasets.split import Split

NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote,
keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush, banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet,
ceiling-other, ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence,
floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other,
grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net,
paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof,
rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table,
tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone, wall-tile,
wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""
CLASSES = number_classes(listed(NAMES), generated_colors(171))
CODE = IdCode({0: IGNORE_ID} | {class_id + 1: class_id for class_id in range(len(CLASSES))})

NOWHERE = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
PUBLISHED_IDS = [number for number in range(1, 183) if number not in NOWHERE]
PUBLISHED_CODE = MatlabCode("S", {0: IGNORE_ID} | {number: class_id for class_id, number in enumerate(PUBLISHED_IDS)})
LISTS = {"train2014": "train", "test2014": "test"}

TREE = """\
  DIR/images/train2014/NAME.jpg                      images
  DIR/annotations/train2014/NAME_labelTrainIds.png   labels, 8-bit grey, ids 1 to 171, 0 = ignored
  and the same for test2014; or, as downloaded,
  DIR/images/NAME.jpg                                images
  DIR/annotations/NAME.mat                           labels, S: ids 1 to 182, 0 = ignored
  DIR/imageLists/train.txt                           names, one a line, and test.txt likewise"""


PROVENANCE = Provenance(
    title="COCO-Stuff 10K",
    source="H. Caesar, J. Uijlings, V. Ferrari: COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018; "
    "github.com/nightrome/cocostuff10k",
    terms="annotations under CC BY 4.0; images under Flickr's terms",
)


@register_dataset("coco_stuff10k", PROVENANCE)
def list_coco_stuff10k(root: Path, split: str) -> Split:
    """List `train2014` or `test2014`; raises DatasetError."""
    images, labels = root / "images" / split, root / "annotations" / split
    if split in LISTS and not images.is_dir() and (root / "imageLists").is_dir():
        pairs = pair_by_list(
            root / "imageLists" / f"{LISTS[split]}.txt",
            Files(root / "images", ".jpg"),
            Files(root / "annotations", ".mat", code=PUBLISHED_CODE),
            TREE,
        )
        return Split("coco_stuff10k", split, CLASSES, IGNORE_ID, pairs)
    check_folders(root, split, [images, labels], TREE)
    pairs = pair_by_name(Files(images, ".jpg"), [Files(labels, "_labelTrainIds.png", code=CODE)], TREE)
    return Split("coco_stuff10k", split, CLASSES, IGNORE_ID, pairs)
