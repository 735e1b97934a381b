"""A frame on its way through the node, and how old it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from lwseg_ros.segmenter import Segmentation

# A stamp outside this range against our clock was not taken from our clock.
_PLAUSIBLE_AGE_MS = (-1_000.0, 60_000.0)


@dataclass(frozen=True)
class Frame:
    """A camera's message as it came in."""

    camera: str
    message: Any
    stamp_ns: int
    arrival_s: float
    """When it came in, on a steady clock."""
    camera_info: Any = None
    """The camera's sensor_msgs/CameraInfo as of then; None where none had come."""


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame with its results."""

    frame: Frame
    image: Any
    """uint8 BGR [H, W, 3], camera pixels."""
    segmentation: Segmentation


class Age(NamedTuple):
    """How old a frame is, and whether its stamp could tell."""

    age_ms: float
    from_stamp: bool


def frame_age(frame: Frame, *, now_ns: int, now_s: float) -> Age:
    """Tell how old a frame is.

    now_ns is the node's clock, which may be simulated; now_s is the steady clock of `Frame.arrival_s`. The stamp counts where it is
    set and from the node's clock: at most a second ahead and a minute behind. Otherwise (no stamp, a bag played without
    simulated time, a camera with a clock of its own) the age is the time since the frame came in.
    """
    if frame.stamp_ns and now_ns:
        age_ms = (now_ns - frame.stamp_ns) / 1e6
        if _PLAUSIBLE_AGE_MS[0] <= age_ms <= _PLAUSIBLE_AGE_MS[1]:
            return Age(max(0.0, age_ms), True)
    return Age((now_s - frame.arrival_s) * 1e3, False)
