"""The manifest: what a model file says of itself, as JSON in its ONNX metadata."""

from __future__ import annotations

import json
import math
import re
import reprlib
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from lwseg_ros.classes import MAX_CLASS_ID, ClassInfo, is_int, is_triple, palette_bgr
from lwseg_ros.errors import ModelFileError
from lwseg_ros.imaging.resizing import MAX_SIDE
from lwseg_ros.model.acceptance import Acceptance

FORMAT_VERSION = 1
MAX_JSON_CHARACTERS = 1 << 18  # of the shipped models, up to 10,100
MAX_INPUT_PIXELS = 1 << 23  # 3840 x 2160 fits
PRECISIONS = ("fp32", "fp16", "int8")
OPTIONAL = ("held_out", "acceptance", "parent")
UNCERTAINTY_KINDS = ("least_confidence", "margin", "entropy", "low_scale")
NO_UNCERTAINTY = "none"  # of a network that gives labels alone: all its pixels have the uncertainty 255, not known


@dataclass(frozen=True)
class Manifest:
    """What a model file says of itself; checked when made, raises ModelFileError.

    format_version: of this manifest, FORMAT_VERSION.
    network: registry name, as `lwseg networks` lists it.
    classes: in the order of their ids or not; ids unique.
    ignore_id: the value of unlabelled pixels in the data set's label images, None where there are none.
    dataset: what it was trained on.
    input_size_hw: pixels; images are resized to it.
    mean_rgb, std_rgb: the normalisation inside the graph, in units of 0..1.
    precision: of the weights and the arithmetic in the graph, one of PRECISIONS.
    uncertainty_kind: one of UNCERTAINTY_KINDS, or NO_UNCERTAINTY; low_scale is the least confidence of the low one of two scales.
    temperature: the divisor, > 0, inside the graph, of the logits that the uncertainty is made of; labels do not depend on it.
    training: commit, recipe, epochs, ... validation: split, miou, ece, ...
    held_out: figures of runs of the same recipe on the sequences that each of them had not seen, with this temperature, which was
        fitted to those: `sequences` (images, miou, ece, ... by name) and their `mean`. Empty, and not written, where it was not
        fitted so.
    acceptance: which pixels the model vouches for and what is normal, see `model.acceptance.Acceptance.from_manifest`, and what
        they were fitted on. Empty, and not written, where nothing was fitted.
    parent: of a file that was converted to another precision: `sha256` of the file that it was made of, what it was measured on,
        and in `runtimes` by name the share of pixels with the parent's labels (`equal_labels`), its `miou` and `miou_change`.
        Empty, and not written, where the file was exported from a checkpoint.
    weights_sha256: see `model_file.weights_sha256`; empty until `model_file.save_model` computes it.
    """

    network: str
    classes: tuple[ClassInfo, ...]
    dataset: str
    input_size_hw: tuple[int, int]
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    precision: str = "fp32"
    uncertainty_kind: str = "least_confidence"
    temperature: float = 1.0
    ignore_id: int | None = None
    training: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    held_out: dict[str, Any] = field(default_factory=dict)
    acceptance: dict[str, Any] = field(default_factory=dict)
    parent: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Check every field; raises ModelFileError."""
        if self.format_version != FORMAT_VERSION:
            raise ModelFileError(
                f"manifest field 'format_version' is {self.format_version!r}, this version of lwseg_ros reads "
                f"{FORMAT_VERSION}; install the lwseg_ros that wrote it, or export it again"
            )
        for name in ("network", "dataset"):
            self._demand(name, isinstance(getattr(self, name), str) and getattr(self, name) != "", "a text")
        self._check_classes()
        self._demand(
            "input_size_hw",
            isinstance(self.input_size_hw, tuple)
            and len(self.input_size_hw) == 2
            and all(is_int(side, 1, MAX_SIDE) for side in self.input_size_hw),
            f"height and width in 1..{MAX_SIDE}",
        )
        height, width = self.input_size_hw
        self._demand("input_size_hw", height * width <= MAX_INPUT_PIXELS, f"at most {MAX_INPUT_PIXELS} pixels")
        self._demand("mean_rgb", is_triple(self.mean_rgb) and all(map(_is_finite, self.mean_rgb)), "three numbers")
        self._demand(
            "std_rgb",
            is_triple(self.std_rgb) and all(_is_finite(value) and value > 0 for value in self.std_rgb),
            "three numbers above 0",
        )
        self._demand("precision", self.precision in PRECISIONS, "one of " + ", ".join(PRECISIONS))
        kinds = (*UNCERTAINTY_KINDS, NO_UNCERTAINTY)
        self._demand("uncertainty_kind", self.uncertainty_kind in kinds, "one of " + ", ".join(kinds))
        self._demand("temperature", _is_finite(self.temperature) and self.temperature > 0, "a number above 0")
        for name in ("training", "validation", "held_out", "acceptance", "parent"):
            self._demand(name, isinstance(getattr(self, name), dict), "an object")
        self._demand(
            "parent", not self.parent or _is_digest(self.parent_sha256), "a sha256 of 64 lower-case hex digits"
        )
        self.accepted_pixels()
        self._demand(
            "weights_sha256",
            self.weights_sha256 == "" or _is_digest(self.weights_sha256),
            "64 lower-case hex digits",
        )
        self.to_json()

    def _check_classes(self) -> None:
        self._demand(
            "classes",
            isinstance(self.classes, tuple)
            and 2 <= len(self.classes) <= MAX_CLASS_ID + 1
            and all(isinstance(info, ClassInfo) for info in self.classes),
            f"two to {MAX_CLASS_ID + 1} classes",
        )
        _demand_unique("id", [str(info.id) for info in self.classes])
        _demand_unique("name", [info.name for info in self.classes])
        self._demand(
            "ignore_id",
            self.ignore_id is None
            or (is_int(self.ignore_id, 0, 255) and self.ignore_id not in [info.id for info in self.classes]),
            "null, or a value in 0..255 that is no class id",
        )

    def _demand(self, name: str, accepted: bool, expected: str) -> None:
        if not accepted:
            raise ModelFileError(f"manifest field {name!r} is {reprlib.repr(getattr(self, name))}, expected {expected}")

    @property
    def num_classes(self) -> int:
        """Count the classes."""
        return len(self.classes)

    @property
    def palette_bgr(self) -> np.ndarray:
        """Return the classes' colours as uint8 [256, 3], BGR, row = class id; black where there is no class."""
        return palette_bgr(self.classes)

    @property
    def parent_sha256(self) -> str | None:
        """Return the SHA-256 of the file that this one was converted from, None where it was exported from a checkpoint."""
        return self.parent.get("sha256")

    def accepted_pixels(self) -> Acceptance | None:
        """Return what tells which pixels the model vouches for, None where it vouches for none."""
        return Acceptance.from_manifest(self.acceptance, {info.id for info in self.classes})

    def trained_on(self, dataset: str, split: str) -> bool:
        """Whether the recipe in ``training`` says that a split, or a part of it, was trained on."""
        recipe = self.training.get("recipe")
        section = recipe.get("dataset") if isinstance(recipe, dict) else None
        if not isinstance(section, dict):
            return False
        splits = section.get("train_split")
        # Both sizes of CamVid are the same recordings.
        same_images = self.dataset.removesuffix("_full") == dataset.removesuffix("_full")
        return same_images and (split == splits if isinstance(splits, str) else split in (splits or ()))

    def to_json(self) -> str:
        """Write as JSON; raises ModelFileError when training or validation hold what JSON cannot, or a text what UTF-8 cannot."""
        try:
            values = asdict(self)
            for name in OPTIONAL:
                if not values[name]:  # so that versions that do not know it read the file
                    del values[name]
            text = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False)
            text.encode()
            return text
        except (TypeError, ValueError, RecursionError) as error:
            raise ModelFileError(f"manifest cannot be written as JSON ({error}); use plain finite values") from error

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote; unknown fields are refused. Raises ModelFileError."""
        if len(text) > MAX_JSON_CHARACTERS:
            raise ModelFileError(
                f"its manifest has {len(text)} characters, at most {MAX_JSON_CHARACTERS} are accepted; export it again"
            )
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"its manifest is not JSON ({error})") from error
        if not isinstance(values, dict):
            raise ModelFileError(f"its manifest is a JSON {type(values).__name__}, expected an object")
        # The version first: another version may well have other fields.
        if values.get("format_version") != FORMAT_VERSION:
            raise ModelFileError(
                f"manifest field 'format_version' is {values.get('format_version')!r}, this version of lwseg_ros "
                f"reads {FORMAT_VERSION}; install the lwseg_ros that wrote it, or export it again"
            )
        for name in OPTIONAL:
            values.setdefault(name, {})
        _check_keys("manifest", values, {entry.name for entry in fields(cls)})
        for name in ("input_size_hw", "mean_rgb", "std_rgb"):
            values[name] = _as_tuple(values[name])
        if not isinstance(values["classes"], list):
            raise ModelFileError(f"manifest field 'classes' is {values['classes']!r}, expected a list")
        values["classes"] = tuple(_class_from_json(entry) for entry in values["classes"])
        return cls(**values)


def _demand_unique(what: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ModelFileError(f"manifest field 'classes': class {what} {value!r} is used more than once")


def _class_from_json(entry: Any) -> ClassInfo:
    if not isinstance(entry, dict):
        raise ModelFileError(f"manifest field 'classes' holds {entry!r}, expected an object")
    _check_keys("manifest field 'classes': a class", entry, {"id", "name", "color_rgb"})
    return ClassInfo(id=entry["id"], name=entry["name"], color_rgb=_as_tuple(entry["color_rgb"]))


def _check_keys(what: str, values: dict[str, Any], expected: set[str]) -> None:
    missing = sorted(expected - values.keys())
    if missing:
        raise ModelFileError(f"{what} lacks {', '.join(map(repr, missing))}")
    unknown = sorted(values.keys() - expected)
    if unknown:
        raise ModelFileError(f"{what} has unknown {', '.join(map(repr, unknown))}; fields are {sorted(expected)}")


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number above all floats
        return False
