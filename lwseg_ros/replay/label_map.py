"""What the numbers or colours of a recorded label mean to a model, by the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lwseg_ros.classes import ClassInfo, is_int
from lwseg_ros.datasets.labels import ColorCode, IdCode
from lwseg_ros.errors import DatasetError
from lwseg_ros.host.files import load_yaml

SHIPPED_MAPS = Path(__file__).parents[1] / "assets" / "label_maps"

EXAMPLE = """\
ids:                                 # or `colors:`, with keys such as `128 64 128`, red green blue
  0: road
  1: [sidewalk, pavement]            # the first that the model has
  2: [terrain, null]                 # null: not judged
  255: null"""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class LabelMap:
    """The class names of every stored number, or of every stored colour.

    Attributes:
        source: the file, or the shipped map's name.
        ids: names by stored number 0..255, the first that a model has counts; None stands for what is not judged.
        colors: the same by RGB colour; one of the two is empty.
    """

    source: str
    ids: Mapping[int, tuple[str | None, ...]]
    colors: Mapping[Color, tuple[str | None, ...]]

    def code(self, classes: Sequence[ClassInfo], ignore_id: int) -> IdCode | ColorCode:
        """Resolve the names to a model's class ids; raises DatasetError for names that the model lacks."""
        known: dict[str | None, int] = {info.name: info.id for info in classes}
        known[None] = ignore_id
        if self.colors:
            return ColorCode(
                {color: self._resolve(color, names, known) for color, names in self.colors.items()}, ignore_id
            )
        return IdCode({stored: self._resolve(stored, names, known) for stored, names in self.ids.items()})

    def left_out(self, classes: Sequence[ClassInfo]) -> list[str]:
        """List the classes of the map that a model lacks, so that their pixels are not judged, by their first names."""
        known = {info.name for info in classes}
        names = {
            entry[0]: None for entry in (*self.ids.values(), *self.colors.values()) if entry[0] and not known & {*entry}
        }
        return list(names)

    def _resolve(self, stored: int | Color, names: Sequence[str | None], known: Mapping[str | None, int]) -> int:
        for name in names:
            if name in known:
                return known[name]
        raise DatasetError(
            f"the label map {self.source} calls {stored} {' or '.join(map(repr, names))}; the model's classes are "
            f"{', '.join(str(name) for name in known if name is not None)}, and null is for what is not judged"
        )


def load_label_map(name: str) -> LabelMap:
    """Read a label map: a shipped one by its name, or a YAML file as in EXAMPLE; raises DatasetError."""
    shipped = SHIPPED_MAPS / f"{name}.yaml"
    path = shipped if name.isidentifier() and shipped.is_file() else Path(name)
    try:
        values = load_yaml(path)
    except FileNotFoundError as error:
        names = ", ".join(sorted(file.stem for file in SHIPPED_MAPS.glob("*.yaml")))
        raise DatasetError(f"no label map {name}; shipped are {names}, and a file has to be there") from error
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(f"cannot read the label map {name}: {error}; expected a file such as\n{EXAMPLE}") from error
    if not (isinstance(values, dict) and len(values) == 1 and {"ids", "colors"} & values.keys()):
        raise DatasetError(f"the label map {name} has to have one key, ids or colors, such as\n{EXAMPLE}")
    [(kind, entries)] = values.items()
    if not (isinstance(entries, dict) and entries):
        raise DatasetError(f"the label map {name}: {kind} is {entries!r}, expected entries such as\n{EXAMPLE}")
    parse = _parse_id if kind == "ids" else _parse_color
    parsed = {parse(key, name): _parse_names(key, entry, name) for key, entry in entries.items()}
    if len(parsed) < len(entries):  # `1 2 3` and `01 2 3` are one colour
        raise DatasetError(f"the label map {name} has a colour twice, and only one of them could count; leave one out")
    return LabelMap(name, parsed, {}) if kind == "ids" else LabelMap(name, {}, parsed)  # type: ignore[arg-type]


def _parse_id(key: Any, name: str) -> int:
    if not is_int(key, 0, 255):
        raise DatasetError(f"the label map {name}: {key!r} is no stored number, expected 0 to 255")
    return int(key)


def _parse_color(key: Any, name: str) -> Color:
    levels = str(key).split()
    if len(levels) != 3 or not all(level.isdecimal() and int(level) <= 255 for level in levels):
        raise DatasetError(f"the label map {name}: {key!r} is no colour, expected red green blue such as `128 64 128`")
    red, green, blue = map(int, levels)
    return red, green, blue


def _parse_names(key: Any, entry: Any, name: str) -> tuple[str | None, ...]:
    names = entry if isinstance(entry, list) else [entry]
    if not names or not all(item is None or (isinstance(item, str) and item) for item in names):
        raise DatasetError(f"the label map {name}: {key} is {entry!r}, expected a class, several, or null")
    return tuple(names)
