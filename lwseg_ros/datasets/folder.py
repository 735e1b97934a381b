"""Any folder of images and labels, described by a small `dataset.yaml` in it."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import yaml

from lwseg_ros.classes import ClassInfo, generated_colors, number_classes
from lwseg_ros.datasets.labels import IGNORE_ID, CodedPath, IdCode
from lwseg_ros.datasets.listing import check_present
from lwseg_ros.datasets.registry import register_dataset
from lwseg_ros.datasets.split import Split
from lwseg_ros.errors import DatasetError
from lwseg_ros.host.files import load_yaml

FILE_NAME = "dataset.yaml"
MAX_CLASSES = 255  # a label is 8-bit, and one value is for what does not count

EXAMPLE = """\
name: orchard
classes:                                   # in the order of their ids, 0 first
  - grass
  - {name: trunk, color: [128, 64, 0]}     # RGB; without one a colour is generated
  - path
ignore_id: 255                             # optional, 255 by default; null: every pixel counts
splits:
  train:
    images: train/images/*.jpg             # relative to this file
    labels: train/labels/{name}.png        # 8-bit, one id a pixel; {name}: the image's, without .jpg
  val:
    images: val/images/*/*.jpg
    labels: val/labels/{folder}/{name}.png   # {folder}: the folder that the image lies in
# or, where all images lie in one folder:
#  val: {of: train, every: 5}              # each fifth of them, which train goes without
"""


@register_dataset("folder")
def list_folder(root: Path, split: str) -> Split:
    """List a split that DIR/dataset.yaml describes, images in the order of their paths.

    Raises DatasetError where the file is not as in EXAMPLE, or where an image or a label is missing.
    """
    path = root / FILE_NAME
    values = _mapping(_load(path), path, "the file", {"name", "classes", "splits"}, {"ignore_id"})
    if not (isinstance(values["name"], str) and values["name"]):
        _refuse(path, f"name is {values['name']!r}, expected a text")
    classes = _classes(values["classes"], path)
    ignore_id = values.get("ignore_id", IGNORE_ID)
    if ignore_id is not None and not (_is_int(ignore_id) and len(classes) <= ignore_id <= 255):
        _refuse(path, f"ignore_id is {ignore_id!r}, expected a number from {len(classes)} to 255, or null")
    splits = values["splits"]
    if not isinstance(splits, dict) or split not in splits:
        listed = ", ".join(map(str, splits)) if isinstance(splits, dict) and splits else "none"
        raise DatasetError(f"{path} describes no split {split!r}; it describes: {listed}")
    code = IdCode(
        {value: value for value in range(len(classes))} | ({} if ignore_id is None else {ignore_id: ignore_id})
    )
    pairs = _pairs(root, splits, split, path)
    return Split(
        values["name"], split, classes, ignore_id, tuple((image, CodedPath(label, code)) for image, label in pairs)
    )


def load_classes(path: Path) -> tuple[ClassInfo, ...]:
    """Read the `classes` of a file as in EXAMPLE, whatever else stands in it; raises DatasetError."""
    values = _load(path)
    if not (isinstance(values, dict) and "classes" in values):
        _refuse(path, "it has no key classes")
    return _classes(values["classes"], path)


def _current_keys(entry: Any, path: Path) -> Any:
    """Give a split's `images` their key where a file of an earlier version calls them `photos`."""
    if not (isinstance(entry, dict) and "photos" in entry and "images" not in entry):
        return entry
    warnings.warn(f"{path}: the key 'photos' is called 'images' now; rename it", FutureWarning, stacklevel=3)
    return {"images" if key == "photos" else key: value for key, value in entry.items()}


def _load(path: Path) -> Any:
    try:
        return load_yaml(path)
    except FileNotFoundError as error:
        raise DatasetError(f"no file {path}; expected one such as\n{EXAMPLE}") from error
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(f"cannot read {path}: {error}; expected a file such as\n{EXAMPLE}") from error


def _classes(entries: Any, path: Path) -> tuple[ClassInfo, ...]:
    if not (isinstance(entries, list) and 1 <= len(entries) <= MAX_CLASSES):
        _refuse(path, f"classes is {entries!r}, expected a list of 1 to {MAX_CLASSES}")
    colors = generated_colors(len(entries))
    names: list[str] = []
    for class_id, entry in enumerate(entries):
        if isinstance(entry, dict):
            entry = _mapping(entry, path, f"class {class_id}", {"name"}, {"color"})
            name, color = entry["name"], entry.get("color", list(colors[class_id]))
        else:
            name, color = entry, list(colors[class_id])
        if not (isinstance(name, str) and name) or name in names:
            _refuse(path, f"class {class_id} has the name {name!r}, expected a text that no other class has")
        if not (isinstance(color, list) and len(color) == 3 and all(_is_int(v) and 0 <= v <= 255 for v in color)):
            _refuse(path, f"class {name!r} has the color {color!r}, expected [R, G, B], each 0 to 255")
        names.append(name)
        colors[class_id] = (color[0], color[1], color[2])
    return number_classes(names, colors)


def _pairs(root: Path, splits: dict[str, Any], split: str, path: Path) -> list[tuple[Path, Path]]:
    """Pair the images of a split with their labels: its own ones, or those it takes out of another split."""
    taken = {name: entry for name, entry in splits.items() if isinstance(entry, dict) and "of" in entry}
    if split not in taken:
        pairs = _own_pairs(root, split, splits[split], path)
        steps = [_every(name, entry, path) for name, entry in taken.items() if entry["of"] == split]
        return [pair for index, pair in enumerate(pairs) if not any(index % step == step - 1 for step in steps)]
    source, every = taken[split]["of"], _every(split, taken[split], path)
    if source not in splits or source in taken:
        _refuse(path, f"split {split} is of {source!r}, expected a split that has images of its own")
    pairs = _own_pairs(root, source, splits[source], path)[every - 1 :: every]
    if not pairs:
        raise DatasetError(f"{path}: split {source} has less than the {every} images of which {split} takes one")
    return pairs


def _every(split: str, entry: dict[str, Any], path: Path) -> int:
    every = _mapping(entry, path, f"split {split}", {"of", "every"}, set())["every"]
    if not (_is_int(every) and every >= 2):
        _refuse(path, f"every of split {split} is {every!r}, expected a number from 2 on")
    return int(every)


def _own_pairs(root: Path, split: str, entry: Any, path: Path) -> list[tuple[Path, Path]]:
    entry = _mapping(_current_keys(entry, path), path, f"split {split}", {"images", "labels"}, set())
    for key, pattern in entry.items():
        if not (isinstance(pattern, str) and pattern) or PurePosixPath(pattern).is_absolute():
            _refuse(path, f"{key} of split {split} is {pattern!r}, expected a path relative to {root}")
    if "{name}" not in entry["labels"]:
        _refuse(path, f"labels of split {split} is {entry['labels']!r}, expected a path with {{name}} in it")
    try:
        images = sorted(image for image in root.glob(entry["images"]) if image.is_file())
    except (OSError, ValueError) as error:  # a name that is too long; ** with something beside it
        _refuse(path, f"images of split {split} is {entry['images']!r}, which cannot be searched for ({error})")
    if not images:
        raise DatasetError(
            f"no image of split {split!r} matches {root / entry['images']}; correct {path}, or add images"
        )
    pairs = [
        (image, root / entry["labels"].replace("{name}", image.stem).replace("{folder}", image.parent.name))
        for image in images
    ]
    check_present(
        (label for _, label in pairs if not label.is_file()), f"  the labels of {split} as {path} describes them"
    )
    return pairs


def _mapping(value: Any, path: Path, what: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """Return a mapping that has all needed keys and no unknown ones."""
    accepted = ", ".join(sorted(needed)) + "".join(f" and optionally {key}" for key in sorted(optional))
    if not isinstance(value, dict):
        _refuse(path, f"{what} is {value!r}, expected {accepted}")
    if needed - value.keys() or value.keys() - needed - optional:
        _refuse(path, f"{what} has the keys {', '.join(map(str, value)) or 'none'}, expected {accepted}")
    return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(path: Path, problem: str) -> NoReturn:
    raise DatasetError(f"{path}: {problem}; an example:\n{EXAMPLE}")
