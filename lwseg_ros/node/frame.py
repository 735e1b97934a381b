"""A frame on its way through the node, and how old it is."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from lwseg_ros.imaging.camera_info import disagreement, scale_camera_info
from lwseg_ros.segmenter import Segmentation

# A stamp outside this range against our clock was not taken from our clock.
_PLAUSIBLE_AGE_MS = (-1_000.0, 60_000.0)
# No camera on a vehicle delivers as late as this all the time.
_LATE_MS = 1_000.0
# Lateness that comes from a clock keeps above this share of the limit, and its quartiles within this share of its median.
_LEAST_SHARE = 0.5
_SPREAD_SHARE = 0.3
# So long frames have to be late for it to be the clock: a burst after a stall is over sooner; and where frames were in
# time before, a network that is overloaded is likelier than a clock that was set.
_PATIENCE_S = 1.0
_PATIENCE_AFTER_BEING_IN_TIME_S = 10.0


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
    foreign_stamp: bool = False
    """Whether `StampClock` took the stamp for that of another clock."""


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame with its results."""

    frame: Frame
    image: Any
    """uint8 BGR [H, W, 3], camera pixels."""
    segmentation: Segmentation

    @property
    def camera_info_fault(self) -> str:
        """Why the camera's CameraInfo cannot be that of its image; empty where it can, or there is none."""
        info = self.frame.camera_info
        return "" if info is None else disagreement(info, self.image.shape[:2])

    def label_camera_info(self) -> Any:
        """Give the CameraInfo of the label image; None where the camera has none, or one that is at fault."""
        if self.frame.camera_info is None or self.camera_info_fault:
            return None
        return scale_camera_info(self.frame.camera_info, self.segmentation.label.shape)


class StampClock:
    """Tell from a camera's stamps, as they come in, whether they are from the node's clock.

    They are not where there are none, where one is more than a second ahead or a minute behind, and where for a while all have
    been more than a second behind, or steadily so far that some were older than a frame may be: a camera whose own clock is off.
    """

    def __init__(self) -> None:
        """Begin without an opinion."""
        self.foreign = False
        self.offset_ms: float | None = None
        """How far the newest frame's stamp was behind the node's clock when it came in; None without a stamp."""
        self.steady_offset_ms: float | None = None
        """How far the stamps have been behind lately, where that makes frames late and hardly varies; else None."""
        self._offsets: deque[tuple[float, float]] = deque()  # when, and ms, since a frame was well in time
        self._patience_s = _PATIENCE_S

    def observe(self, stamp_ns: int, *, now_ns: int, now_s: float, max_age_ms: float = 0.0) -> bool:
        """Take in the stamp of a frame that came in just now; True where it is from another clock.

        now_ns is the node's clock, which may be simulated; now_s is a steady clock. max_age_ms: how old a frame may be; 0 for
        any age.
        """
        late_ms = min(_LATE_MS, max_age_ms or _LATE_MS)
        self.offset_ms = (now_ns - stamp_ns) / 1e6 if stamp_ns and now_ns else None
        self.steady_offset_ms = None
        if self.offset_ms is None or not _PLAUSIBLE_AGE_MS[0] <= self.offset_ms <= _PLAUSIBLE_AGE_MS[1]:
            self._offsets.clear()
            self.foreign = True
            return True
        if self.offset_ms <= late_ms:
            self._patience_s = _PATIENCE_AFTER_BEING_IN_TIME_S
        if self.offset_ms <= _LEAST_SHARE * late_ms:
            self._offsets.clear()
            self.foreign = False
            return False
        self._offsets.append((now_s, self.offset_ms))
        while len(self._offsets) > 1 and self._offsets[1][0] <= now_s - self._patience_s:
            self._offsets.popleft()
        offsets_ms = sorted(offset_ms for _, offset_ms in self._offsets)
        lower_ms, median_ms, upper_ms = (offsets_ms[len(offsets_ms) * quarter // 4] for quarter in (1, 2, 3))
        some_late = offsets_ms[-1] > late_ms
        steady = some_late and upper_ms - lower_ms <= _SPREAD_SHARE * median_ms
        if steady and len(offsets_ms) > 1:
            self.steady_offset_ms = median_ms
        known = self.foreign or now_s - self._offsets[0][0] >= self._patience_s
        # Once it is known, frames have to be in time again for it to be forgotten.
        self.foreign = known and some_late and (self.foreign or steady or offsets_ms[0] > _LATE_MS)
        return self.foreign


class Age(NamedTuple):
    """How old a frame is, and whether its stamp could tell."""

    age_ms: float
    from_stamp: bool


def frame_age(frame: Frame, *, now_ns: int, now_s: float) -> Age:
    """Tell how old a frame is.

    now_ns is the node's clock, which may be simulated; now_s is the steady clock of `Frame.arrival_s`. The stamp counts where it is
    set and from the node's clock: not foreign when the frame came in, and now at most a second ahead and a minute behind.
    Otherwise (no stamp, a bag played without simulated time, a camera with a clock of its own) the age is the time since
    the frame came in.
    """
    if frame.stamp_ns and now_ns and not frame.foreign_stamp:
        age_ms = (now_ns - frame.stamp_ns) / 1e6
        if _PLAUSIBLE_AGE_MS[0] <= age_ms <= _PLAUSIBLE_AGE_MS[1]:
            return Age(max(0.0, age_ms), True)
    return Age((now_s - frame.arrival_s) * 1e3, False)
