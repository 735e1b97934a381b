"""CamVid as it was published: 701 images of 960 x 720 with labels in 32 colours, here grouped into CamVid's 11 classes.

The archives are 701_StillsRaw_full and LabeledApproved_full, the colours from its label_colors.txt.

Grouping: the one that SegNet was trained with (Badrinarayanan, Kendall, Cipolla, PAMI 39(12), 2017), as MathWorks writes it
out in its CamVid example. Only Void is ignored. Other work keeps the 11 colours of the same names and ignores the remaining
20; figures on the two are not comparable.
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID, PROVENANCE
from lwseg_ros.datasets.labels import ColorCode
from lwseg_ros.datasets.listing import Files, check_folders, pair_by_name
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.datasets.split import Split
from lwseg_ros.errors import DatasetError

# published name: (colour, class it is counted as)
COLORS: dict[str, tuple[tuple[int, int, int], str | None]] = {
    "Animal": ((64, 128, 64), "pedestrian"),
    "Archway": ((192, 0, 128), "building"),
    "Bicyclist": ((0, 128, 192), "bicyclist"),
    "Bridge": ((0, 128, 64), "building"),
    "Building": ((128, 0, 0), "building"),
    "Car": ((64, 0, 128), "car"),
    "CartLuggagePram": ((64, 0, 192), "pedestrian"),
    "Child": ((192, 128, 64), "pedestrian"),
    "Column_Pole": ((192, 192, 128), "pole"),
    "Fence": ((64, 64, 128), "fence"),
    "LaneMkgsDriv": ((128, 0, 192), "road"),
    "LaneMkgsNonDriv": ((192, 0, 64), "road"),
    "Misc_Text": ((128, 128, 64), "sign_symbol"),
    "MotorcycleScooter": ((192, 0, 192), "bicyclist"),
    "OtherMoving": ((128, 64, 64), "car"),
    "ParkingBlock": ((64, 192, 128), "pavement"),
    "Pedestrian": ((64, 64, 0), "pedestrian"),
    "Road": ((128, 64, 128), "road"),
    "RoadShoulder": ((128, 128, 192), "pavement"),
    "Sidewalk": ((0, 0, 192), "pavement"),
    "SignSymbol": ((192, 128, 128), "sign_symbol"),
    "Sky": ((128, 128, 128), "sky"),
    "SUVPickupTruck": ((64, 128, 192), "car"),
    "TrafficCone": ((0, 0, 64), "pole"),
    "TrafficLight": ((0, 64, 64), "sign_symbol"),
    "Train": ((192, 64, 128), "car"),
    "Tree": ((128, 128, 0), "tree"),
    "Truck_Bus": ((192, 128, 192), "car"),
    "Tunnel": ((64, 0, 64), "building"),
    "VegetationMisc": ((192, 192, 0), "tree"),
    "Void": ((0, 0, 0), None),
    "Wall": ((64, 192, 0), "building"),
}
_IDS: dict[str | None, int] = {info.name: info.id for info in CAMVID_CLASSES} | {None: CAMVID_IGNORE_ID}
CODE = ColorCode({color: _IDS[name] for color, name in COLORS.values()}, CAMVID_IGNORE_ID)

SPLITS = ("train", "val", "test")
TREE = """\
  DIR/701_StillsRaw_full/0001TP_006690.png      all images as published; 367, 101 and 233 are train, val and test
  DIR/LabeledApproved_full/0001TP_006690_L.png  all labels, in colours
or, where the images are already split,
  DIR/train/0001TP_006690.png                   images
  DIR/train_labels/0001TP_006690_L.png          labels, in colours
  and the same for val and test"""


@register_dataset("camvid_full", PROVENANCE)
def list_camvid_full(root: Path, split: str) -> Split:
    """List `train`, `val` or `test`; raises DatasetError."""
    if (root / split).is_dir() or (root / f"{split}_labels").is_dir():
        images, labels = root / split, root / f"{split}_labels"
    else:
        images, labels = root / "701_StillsRaw_full", root / "LabeledApproved_full"
    check_folders(root, split, [images, labels], TREE)
    pairs = pair_by_name(Files(images, ".png"), [Files(labels, "_L.png", code=CODE)], TREE)
    if images.name != split:
        pairs = tuple(pair for pair in pairs if published_split(pair[0].stem) == split)
        if not pairs:
            raise DatasetError(f"{images} holds no split {split!r}; splits are {', '.join(SPLITS)}; expected\n{TREE}")
    return Split("camvid_full", split, CAMVID_CLASSES, CAMVID_IGNORE_ID, pairs)


def published_split(name: str) -> str:
    """Return the split that the papers count an image to, by its name, such as `0006R0_f00930`.

    Every second frame of 0016E5's clip at 15 Hz has an odd number; frames in between with an even one are of its train part.
    """
    recording, _, frame = name.partition("_")
    number = int(frame.removeprefix("f")) if frame.removeprefix("f").isdecimal() else 0
    if recording == "0016E5" and 7959 <= number <= 8159 and number % 2:
        return "val"
    return "test" if recording == "Seq05VD" or (recording == "0001TP" and number > 8520) else "train"
