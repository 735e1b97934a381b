"""Where the cameras' images come from, and why those of a sweep are not there: in words, measured, and with what helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS, PaintSettings
from lwseg_ros.painting.matching import CameraHistory


@dataclass(frozen=True)
class Sources:
    """What the images and the calibration of every camera come by.

    Attributes:
        resolve: gives a topic its full name, remapped; None where labels come from the node `segment` of the same process.
    """

    resolve: Callable[[str], str] | None = None

    def no_classes(self) -> str:
        """Say that nobody has told what the labels mean."""
        if self.resolve is None:
            return "segment, which runs in this process, has not told its classes yet: is it configured and active?"
        return f"nothing has come on {self.resolve('label_info_json')}: remap label_info_json to the node segment's"

    def no_camera_info(self, camera: str) -> str:
        """Say that a camera has no calibration, and who would give it."""
        where = " from segment" if self.resolve is None else f" on {self.resolve(_topic(camera, 'camera_info'))}"
        remedy = f"remap segment's {_topic(camera, 'camera_info')}"
        return f"no camera_info{where}: segment publishes it once it has one itself; {remedy}"

    def no_labels(
        self,
        camera: str,
        history: CameraHistory,
        settings: PaintSettings,
        *,
        middle_ns: int,
        arrival_s: float,
        last_image_s: float,
        now_s: float,
    ) -> str:
        """Say why a camera has no complete images near a sweep.

        middle_ns: the sweep's, in time of the stamps. arrival_s: when it came; last_image_s: when the camera's last image did, both
        on the steady clock of now_s.
        """
        if never := history.never_came():
            return self._nothing_came(camera, never)
        tolerance_ns = int(settings.max_time_difference_ms * 1e6)
        lacking = history.lacking(middle_ns, tolerance_ns)
        stamps = history.stamps()
        if not stamps or abs(min(stamps, key=lambda stamp: abs(stamp - middle_ns)) - middle_ns) <= tolerance_ns:
            return f"no {' and '.join(lacking)} within {settings.max_time_difference_ms:g} ms of the sweep's middle"
        if now_s - last_image_s > settings.input_timeout_s:
            return f"no label{self._place(camera)} for {now_s - last_image_s:.1f} s: see segment's diagnostics"
        # What max_wait_ms has to exceed, and known whatever the node's own clock shows, as in the replay of a bag.
        late_ms = (last_image_s - arrival_s) * 1e3 - (stamps[-1] - middle_ns) / 1e6
        if stamps[-1] < middle_ns and settings.max_wait_ms < late_ms <= (
            PAINT_PARAMETERS["max_wait_ms"].maximum or 0.0
        ):
            return (
                f"labels come {late_ms:.0f} ms after a sweep of their stamp; max_wait_ms is {settings.max_wait_ms:g}: raise it, "
                "or take a faster model; where segment's latency is less than that, check the clocks of lidar and camera"
            )
        off_ms = min(((stamp - middle_ns) / 1e6 for stamp in stamps), key=abs)
        return (
            f"the nearest label is {abs(off_ms):.0f} ms {'after' if off_ms > 0 else 'before'} the sweep's middle; "
            f"max_time_difference_ms is {settings.max_time_difference_ms:g}: check the clocks of lidar and camera (PTP), "
            "and how often labels come"
        )

    def _place(self, camera: str) -> str:
        return "" if self.resolve is None else f" on {self.resolve(_topic(camera, 'label'))}"

    def _nothing_came(self, camera: str, kinds: Sequence[str]) -> str:
        if self.resolve is None:
            known = f"camera {camera}" if camera else "camera"
            return f"nothing has come from segment, which runs in this process: see the diagnostics of its {known}"
        topics = " and ".join(self.resolve(_topic(camera, kind)) for kind in kinds)
        remedy = f"check the remapping (-r {_topic(camera, kinds[0])}:=TOPIC), and that segment runs"
        return f"no usable image has come on {topics}: {remedy}"


def _topic(camera: str, name: str) -> str:
    return f"{camera}/{name}" if camera else name
