"""Whether the cameras see streets like those that the model was calibrated on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from lwseg_ros.evaluation.drift import DriftWindow, FrameFigures, frame_figures
from lwseg_ros.model.acceptance import Acceptance, Range
from lwseg_ros.node.frame import SegmentedFrame


class DriftWatch:
    """Keep a window of every camera's frames; look at none where the model does not say what is normal."""

    def __init__(self, acceptance: Acceptance | None, cameras: Iterable[str]) -> None:
        """Start with empty windows."""
        self._acceptance = acceptance if acceptance is not None and acceptance.normal else None
        self._windows = {camera: DriftWindow() for camera in cameras}

    @property
    def normal(self) -> Mapping[str, Range]:
        """What the model says is normal; empty where it says nothing."""
        return self._acceptance.normal if self._acceptance is not None else {}

    def look(self, result: SegmentedFrame) -> None:
        """Take in a frame that was segmented."""
        if self._acceptance is not None:
            segmentation = result.segmentation
            figures = frame_figures(self._acceptance, result.image, segmentation.label, segmentation.uncertainty)
            self._windows[result.frame.camera].add(time.monotonic(), figures)

    def mean(self, camera: str, now_s: float) -> FrameFigures | None:
        """Return what a camera has seen lately, None where that is too little; now_s is of the monotonic clock."""
        return self._windows[camera].mean(now_s)
