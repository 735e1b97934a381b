"""Cityscapes, fine annotations: 2975 training and 500 validation images of 2048 x 1024, 19 of 34 labels evaluated.

The packages are leftImg8bit_trainvaltest and gtFine_trainvaltest; names, ids and colours those of its cityscapesScripts. The
labels of `test` are withheld: its files hold ignored pixels only.
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.classes import number_classes
from lwseg_ros.datasets.labels import IGNORE_ID, IdCode
from lwseg_ros.datasets.listing import Files, check_folders, pair_by_name
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.datasets.split import Split

# (id in the label files, name, colour), in the order of the train ids
LABELS: tuple[tuple[int, str, tuple[int, int, int]], ...] = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
NUM_LABEL_IDS = 34  # 0 to 33; the licence plate, -1, is never drawn

CLASSES = number_classes([name for _, name, _ in LABELS], [color for *_, color in LABELS])
LABEL_IDS = IdCode(
    dict.fromkeys(range(NUM_LABEL_IDS), IGNORE_ID)
    | {label_id: class_id for class_id, (label_id, *_) in enumerate(LABELS)}
)
TRAIN_IDS = IdCode({class_id: class_id for class_id in range(len(LABELS))} | {IGNORE_ID: IGNORE_ID})

TREE = """\
  DIR/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png  images, one folder a city
  DIR/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png   labels, 8-bit grey, ids 0 to 33;
                                                                     or _gtFine_labelTrainIds.png, ids 0 to 18 and 255
  and the same for val"""


PROVENANCE = Provenance(
    title="Cityscapes",
    source="M. Cordts et al.: The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016; www.cityscapes-dataset.com",
    terms="free for non-commercial use after registration, with this citation; the data may not be passed on",
)


@register_dataset("cityscapes", PROVENANCE)
def list_cityscapes(root: Path, split: str) -> Split:
    """List `train` or `val`; raises DatasetError."""
    images, labels = root / "leftImg8bit" / split, root / "gtFine" / split
    check_folders(root, split, [images, labels], TREE)
    kinds = [
        Files(labels, "_gtFine_labelIds.png", "*/", LABEL_IDS),
        Files(labels, "_gtFine_labelTrainIds.png", "*/", TRAIN_IDS),
    ]
    pairs = pair_by_name(Files(images, "_leftImg8bit.png", "*/"), kinds, TREE)
    return Split("cityscapes", split, CLASSES, IGNORE_ID, pairs)
