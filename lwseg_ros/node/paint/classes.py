"""What the node `segment` says of its labels, as far as painting needs it."""

from __future__ import annotations

import json
from dataclasses import dataclass

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
                red, green, blue = (int(value) for value in entry["color_rgb"])
                rgb[int(entry["id"])] = (red & 255) << 16 | (green & 255) << 8 | blue & 255
            ignore_id = said["ignore_id"]
            no_class = NO_CLASS if ignore_id is None else int(ignore_id)
            if not 0 <= no_class <= 255:
                raise ValueError(f"ignore_id {no_class} is no byte")
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
            raise ImageError(
                f"label_info_json is not what the node segment publishes ({type(error).__name__}: {error})"
            ) from error
        return cls(rgb, no_class, "level" in said)
