"""Video files, frame by frame."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lwseg_ros.errors import ImageError

DEFAULT_RATE_HZ = 30.0  # for files that do not say


@dataclass(frozen=True)
class Video:
    """An opened video. frames: uint8 BGR [H, W, 3], to be taken once. num_frames: as the file says, None if it does not."""

    frames: Iterator[np.ndarray]
    rate_hz: float
    num_frames: int | None


def read_frames(path: Path) -> Video:
    """Open a video file; raises ImageError when it is none. It is closed after its last frame."""
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ImageError(f"{path} cannot be opened as a video; OpenCV knows no such format, or the file is damaged")
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return Video(
        frames=_frames(capture),
        rate_hz=rate_hz if math.isfinite(rate_hz) and 0 < rate_hz <= 1000 else DEFAULT_RATE_HZ,
        num_frames=int(count) if math.isfinite(count) and count >= 1 else None,
    )


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield frame
    finally:
        capture.release()


def write_video(path: Path, frames: Iterable[np.ndarray], rate_hz: float) -> int:
    """Write uint8 BGR [H, W, 3] frames of one size as MPEG-4; return their number.

    The file appears under its name when it is complete. Raises ImageError when there is no frame or no encoder.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    writer: cv2.VideoWriter | None = None
    count = 0
    try:
        for frame in frames:
            if writer is None:
                height, width = frame.shape[:2]
                codec = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(partial), codec, rate_hz, (width, height))
                if not writer.isOpened():
                    raise ImageError(f"{path} cannot be written: this OpenCV has no MPEG-4 encoder")
            writer.write(frame)
            count += 1
        if writer is None:
            raise ImageError(f"{path} would have no frame; the video it is made of holds none that can be decoded")
        writer.release()
        partial.replace(path)
    finally:
        if writer is not None:
            writer.release()
        partial.unlink(missing_ok=True)
    return count
