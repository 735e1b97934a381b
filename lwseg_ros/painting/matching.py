"""Which images of a camera belong to a sweep: those nearest in time, once it is known that none will be nearer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from lwseg_ros.painting.painter import LabelImages

# What is kept of one camera: 0.6 s of 1920 x 1200 at 30 Hz with accepted pixels.
MAX_BYTES = 128 << 20
MAX_MOMENTS = 500
# So many labels tell the period: of two alone nobody knows whether one between them was lost.
PERIOD_LABELS = 3
# Images come in their order, but for those of one moment: what is older than the last by more begins a time anew.
BEGINS_ANEW_NS = 1_000_000_000


@dataclass
class _Moment:
    """What has come of a camera's images of one stamp, by kind; decoded already."""

    frame_id: str = ""
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
        # By stamp, in the order in which they came.
        self._moments: dict[int, _Moment] = {}
        self._seen: set[str] = set()
        self._camera_infos: dict[int, Any] = {}

    def add(self, kind: str, stamp_ns: int, frame_id: str, image: np.ndarray) -> None:
        """Take in an image, uint8 [H, W], of the kind label, uncertainty or accepted."""
        complete = self._complete()
        if complete and stamp_ns < complete[-1] - BEGINS_ANEW_NS:  # as in a bag's next round
            self.clear()
        moment = self._moments.setdefault(stamp_ns, _Moment())
        moment.frame_id = frame_id
        moment.images[kind] = image
        self._seen.add(kind)

    def add_camera_info(self, stamp_ns: int, camera_info: Any) -> None:
        """Take in a calibration: that of the images of its stamp, and of those that have none of their own."""
        self.camera_info = self._camera_infos[stamp_ns] = camera_info
        if len(self._camera_infos) > MAX_MOMENTS:
            del self._camera_infos[next(iter(self._camera_infos))]

    def forget(self, before_ns: int) -> None:
        """Let go of what is older, but for the labels that tell the period, and of what comes to too much, the first come first."""
        for stamp_ns in sorted(self._moments)[:-PERIOD_LABELS]:
            if stamp_ns < before_ns:
                del self._moments[stamp_ns]
        num_bytes = sum(_num_bytes(moment) for moment in self._moments.values())
        while len(self._moments) > 1 and (num_bytes > MAX_BYTES or len(self._moments) > MAX_MOMENTS):
            num_bytes -= _num_bytes(self._moments.pop(next(iter(self._moments))))

    def clear(self) -> None:
        """Let go of all images, since time, or what the labels mean, begins anew; the newest calibration stays."""
        self._moments.clear()
        self._camera_infos.clear()

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> LabelImages | None:
        """Give the complete images nearest to a time; None where none are within the tolerance.

        Raises:
            ImageError: those nearest differ in size.
        """
        found = _nearest(self._complete(), stamp_ns, tolerance_ns)
        if found is None:
            return None
        moment = self._moments[found]
        images = moment.images
        return LabelImages(found, moment.frame_id, images["label"], images["uncertainty"], images.get("accepted"))

    def camera_info_at(self, stamp_ns: int) -> Any:
        """Give the calibration of the images of a stamp, else the newest; None where none has come."""
        return self._camera_infos.get(stamp_ns, self.camera_info)

    def lacking(self, stamp_ns: int, tolerance_ns: int) -> list[str]:
        """Name the kinds that are missing of the images nearest to a time; all where there are none within the tolerance."""
        found = _nearest(self._moments, stamp_ns, tolerance_ns)
        return [kind for kind in self._kinds() if found is None or kind not in self._moments[found].images]

    def never_came(self) -> list[str]:
        """Name the kinds of which no image has ever come."""
        return [kind for kind in self._kinds() if kind not in self._seen]

    def stamps(self) -> list[int]:
        """Give the stamps of the images that are kept, complete or not, the oldest first."""
        return sorted(self._moments)

    def is_settled(self, stamp_ns: int) -> bool:
        """Tell whether the nearest images to a time are known: later ones are there, or the next will be farther away.

        The next are expected after the shortest time that lay between two: a longer one may be a gap.
        """
        stamps = self._complete()
        if not stamps or self.camera_info is None:
            return False
        if stamps[-1] >= stamp_ns:
            return True
        if len(stamps) < PERIOD_LABELS:
            return False
        period_ns = min(after - before for before, after in pairwise(stamps))
        return stamps[-1] >= stamp_ns - period_ns // 2

    def _kinds(self) -> list[str]:
        return ["label", "uncertainty", *(["accepted"] if self.expects_accepted else [])]

    def _complete(self) -> list[int]:
        kinds = set(self._kinds())
        return sorted(stamp_ns for stamp_ns, moment in self._moments.items() if kinds <= moment.images.keys())


def _nearest(stamps: Iterable[int], stamp_ns: int, tolerance_ns: int) -> int | None:
    found = min(stamps, key=lambda candidate: abs(candidate - stamp_ns), default=None)
    return None if found is None or abs(found - stamp_ns) > tolerance_ns else found


def _num_bytes(moment: _Moment) -> int:
    return sum(image.nbytes for image in moment.images.values())
