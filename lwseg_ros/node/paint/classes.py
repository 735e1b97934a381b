"""What the node `segment` says of its labels, as far as painting needs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lwseg_ros.errors import ImageError

NO_CLASS = 255


@dataclass(frozen=True)
class LabelClasses:
    """Colours and meaning of label ids.

    Attributes:
        rgb: 0x00RRGGBB by id, uint32 [256]; black where an id is no class.
        no_class: the id of pixels, and points, that have no class.
        has_accepted: whether accepted pixels are published beside the labels.
    """

    rgb: npt.NDArray[np.uint32]
    no_class: int
    has_accepted: bool

    @classmethod
    def parse(cls, text: str) -> LabelClasses:
        """Read what is published on ~/label_info_json; raises ImageError."""
        rgb = np.zeros(256, np.uint32)
        try:
            said = json.loads(text)
            for entry in said["classes"]:
                red, green, blue = (_byte(value) for value in entry["color_rgb"])
                rgb[_byte(entry["id"])] = red << 16 | green << 8 | blue
            ignore_id = said["ignore_id"]
            no_class = NO_CLASS if ignore_id is None else _byte(ignore_id)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ImageError(
                f"label_info_json is not what the node segment publishes ({type(error).__name__}: {error})"
            ) from error
        return cls(rgb, no_class, "level" in said)


def _byte(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= 255:
        raise ValueError(f"{number} is no byte")
    return number
