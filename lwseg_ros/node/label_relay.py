"""From the node `segment` to the node `paint` of the same process, past the middleware.

rclpy has no such way: it serializes every message, and reads it again, for a subscription in the same process too.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lwseg_ros.model.acceptance import Acceptance
from lwseg_ros.node.frame import SegmentedFrame


@dataclass(frozen=True)
class RelayedLabels:
    """What a camera's topics would say of one frame.

    Attributes:
        images: uint8 [H, W] by kind: label, uncertainty, and accepted where the model vouches for pixels. The receiver's own.
        camera_info: sensor_msgs/CameraInfo of the label image; None where the camera has none, or one of other images.
    """

    camera: str
    stamp_ns: int
    frame_id: str
    images: Mapping[str, np.ndarray]
    camera_info: Any


class LabelListener(Protocol):
    """Who takes labels in; called from the threads of the node `segment`, which it must not keep."""

    @property
    def cameras(self) -> Container[str]:
        """Whose labels it wants; those of others are not even computed."""
        ...

    def take_label_info(self, text: str) -> None:
        """Take in what is published on ~/label_info_json."""
        ...

    def take_labels(self, labels: RelayedLabels) -> None:
        """Take in a frame's labels."""
        ...


class LabelRelay:
    """Hand labels over while somebody listens; what the labels mean is kept for who comes later, as a latched topic does.

    `listen` and `send_label_info` are called by the executor's thread, `send` by the worker.
    """

    def __init__(self) -> None:
        """Begin without a listener."""
        self._listener: LabelListener | None = None
        self._label_info = ""

    def listen(self, listener: LabelListener | None) -> None:
        """Hand labels to a listener from now on; to nobody with None."""
        self._listener = listener
        if listener is not None and self._label_info:
            listener.take_label_info(self._label_info)

    def send_label_info(self, text: str) -> None:
        """Hand over what the labels from now on mean, in the JSON of ~/label_info_json."""
        self._label_info = text
        if self._listener is not None:
            self._listener.take_label_info(text)

    def send(self, result: SegmentedFrame, acceptance: Acceptance | None) -> None:
        """Hand a frame's labels over to who wants them; acceptance tells which pixels the model vouches for, where it does."""
        listener, frame, segmentation = self._listener, result.frame, result.segmentation
        if listener is None or frame.camera not in listener.cameras:
            return
        # Copies: these may be the backend's memory, which the next frame is written to.
        images = {"label": segmentation.label.copy(), "uncertainty": segmentation.uncertainty.copy()}
        if acceptance is not None:
            images["accepted"] = acceptance.accepted(segmentation.label, segmentation.uncertainty)
        info = result.label_camera_info()
        listener.take_labels(RelayedLabels(frame.camera, frame.stamp_ns, frame.message.header.frame_id, images, info))
