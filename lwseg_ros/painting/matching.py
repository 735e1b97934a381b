"""Which images of a camera belong to a sweep: those nearest in time, once it is known that none will be nearer."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lwseg_ros.painting.painter import LabelImages

# Of a camera's latest moments; at 30 Hz a second's.
KEPT = 32


@dataclass
class _Moment:
    """What has come of a camera's images of one stamp, by kind; decoded already."""

    frame_id: str
    images: dict[str, np.ndarray] = field(default_factory=dict)


class CameraHistory:
    """Put a camera's label, uncertainty and accepted pixels of one stamp together, and find those nearest to a sweep.

    Not safe to use from several threads.
    """

    def __init__(self) -> None:
        """Begin without images."""
        self.camera_info: Any = None
        """The camera's newest sensor_msgs/CameraInfo; None where none has come."""
        self.expects_accepted = False
        """Whether accepted pixels come for each label."""
        self._moments: OrderedDict[int, _Moment] = OrderedDict()

    def add(self, kind: str, stamp_ns: int, frame_id: str, image: np.ndarray) -> None:
        """Take in an image, uint8 [H, W], of the kind label, uncertainty or accepted."""
        complete = self._complete()
        if complete and stamp_ns < complete[-1] - 10_000_000_000:  # time began anew, as in a bag's next round
            self._moments.clear()
        self._moments.setdefault(stamp_ns, _Moment(frame_id)).images[kind] = image
        while len(self._moments) > KEPT:
            self._moments.popitem(last=False)

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> LabelImages | None:
        """Give the complete images nearest to a time; None where none are within the tolerance."""
        stamps = self._complete()
        if not stamps:
            return None
        found = min(stamps, key=lambda candidate: abs(candidate - stamp_ns))
        if abs(found - stamp_ns) > tolerance_ns:
            return None
        moment = self._moments[found]
        images = moment.images
        return LabelImages(found, moment.frame_id, images["label"], images["uncertainty"], images.get("accepted"))

    def is_settled(self, stamp_ns: int) -> bool:
        """Tell whether the nearest images to a time are known: later ones are there, or the next will be farther away.

        The next are expected after as long as lies between the last two.
        """
        stamps = self._complete()
        if not stamps or self.camera_info is None:
            return False
        period_ns = stamps[-1] - stamps[-2] if len(stamps) > 1 else 0
        return stamps[-1] >= stamp_ns - period_ns // 2

    def _complete(self) -> list[int]:
        kinds = {"label", "uncertainty"} | ({"accepted"} if self.expects_accepted else set())
        return sorted(stamp_ns for stamp_ns, moment in self._moments.items() if kinds <= moment.images.keys())
