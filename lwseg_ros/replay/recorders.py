"""What records predictions, by the kind of file that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.pairing import Frame
from lwseg_ros.replay.prediction_recorder import PredictionRecorder
from lwseg_ros.replay.rerun_recorder import RerunRecorder


class Recorder(Protocol):
    """Takes frames with their predictions while its `with` block lasts."""

    def add(self, frame: Frame, image: np.ndarray, prediction: Prediction) -> None:
        """Write a frame's image, uint8 BGR [H, W, 3], and its prediction; raises RecordError."""


RECORDERS: dict[str, Callable[[Path, Bag, Topic, Manifest], AbstractContextManager[Recorder]]] = {
    ".mcap": PredictionRecorder,  # for RViz and Foxglove
    ".rrd": RerunRecorder,  # for Rerun
}


def recorder_to(path: Path, bag: Bag, image_topic: Topic, manifest: Manifest) -> AbstractContextManager[Recorder]:
    """Choose by the path's suffix, one of RECORDERS; see the recorder of that kind."""
    return RECORDERS[path.suffix](path, bag, image_topic, manifest)
