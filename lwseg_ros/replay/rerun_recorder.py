"""Record predictions for Rerun's viewer, which needs no ROS: one .rrd file, there whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lwseg_ros.evaluation.evaluator import Prediction
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.drain import Drain
from lwseg_ros.replay.pairing import Frame
from lwseg_ros.replay.prediction_recorder import RecordError, translated

PHOTO, LABEL, UNCERTAINTY, ACCEPTED = "camera/photo", "camera/label", "uncertainty", "accepted"
MEAN_UNCERTAINTY, ACCEPTED_SHARE = "figures/mean_uncertainty", "figures/accepted_share"
TIMELINE = "stamp"
JPEG_QUALITY = 95


class RerunRecorder:
    """Writes photos (JPEG), labels with names and colours of the classes, uncertainty, accepted pixels where the model has an
    acceptance, and of each frame the mean uncertainty and the accepted share, by the images' stamps.

    A context manager: the file is in its place once the `with` block has ended without an error, and one that was there before
    stays until then.
    """

    def __init__(self, path: Path, bag: Bag, image_topic: Topic, manifest: Manifest) -> None:
        """Prepare to record what is predicted of a topic of an open bag; `with` begins the file.

        Raises RecordError where Rerun is not installed.
        """
        self._path = path
        self._image_topic = image_topic
        self._manifest = manifest
        self._acceptance = manifest.accepted_pixels()
        self._rerun = _import_rerun()
        self._stack = ExitStack()

    def __enter__(self) -> RerunRecorder:
        with self._stack, translated(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            folder = self._stack.enter_context(temporary_folder(f".{self._path.name}.", self._path.parent))
            self._written = folder / "recording.rrd"
            # Rerun's own writing thread only logs that a disk is full, and who waits for it then waits for ever.
            self._drain = self._stack.enter_context(Drain(self._written, folder / "pipe"))
            self._recording = self._rerun.RecordingStream("lwseg_ros")
            self._recording.disable_timeline("log_time")
            self._recording.disable_timeline("log_tick")
            # Before the drain waits for it; once more is without effect.
            self._stack.callback(self._recording.disconnect)
            self._recording.save(self._drain.pipe, default_blueprint=self._blueprint())
            self._recording.log("camera", self._classes(), static=True)
            self._flush()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack, translated(self._path):
            if kind is None:
                self._flush()
                self._recording.disconnect()
                self._drain.finish()
                self._written.replace(self._path)

    def add(self, frame: Frame, image: np.ndarray, prediction: Prediction) -> None:
        """Write a frame's image, uint8 BGR [H, W, 3], and its prediction, uint8 [H, W].

        Raises RecordError where it cannot be written, for want of room for example.
        """
        rr, recording = self._rerun, self._recording
        recording.set_time(TIMELINE, timestamp=np.datetime64(frame.image.stamp_ns, "ns"))
        recording.log(PHOTO, rr.Image(np.ascontiguousarray(image[..., ::-1]), "RGB").compress(JPEG_QUALITY))
        recording.log(LABEL, rr.SegmentationImage(prediction.label, opacity=0.5))
        if prediction.uncertainty is not None:
            recording.log(UNCERTAINTY, rr.Image(prediction.uncertainty, "L"))
            recording.log(MEAN_UNCERTAINTY, rr.Scalars(float(prediction.uncertainty.mean()) / 255))
            if self._acceptance is not None:
                accepted = self._acceptance.accepted(prediction.label, prediction.uncertainty)
                recording.log(ACCEPTED, rr.Image(accepted, "L"))
                recording.log(ACCEPTED_SHARE, rr.Scalars(float((accepted > 0).mean())))
        with translated(self._path):
            self._flush()

    def _flush(self) -> None:
        self._recording.flush()
        self._drain.check()

    def _classes(self) -> Any:
        infos = [(info.id, info.name, info.color_rgb) for info in self._manifest.classes]
        if self._manifest.ignore_id is not None:
            infos.append((self._manifest.ignore_id, "not labelled", (0, 0, 0)))
        return self._rerun.AnnotationContext(infos)

    def _blueprint(self) -> Any:
        views = self._rerun.blueprint
        pictures = [
            views.Spatial2DView(origin="camera", name=f"labels over {self._image_topic.name}"),
            views.Spatial2DView(origin=UNCERTAINTY, name="uncertainty"),
        ]
        if self._acceptance is not None:
            pictures.append(views.Spatial2DView(origin=ACCEPTED, name="accepted"))
        figures = views.TimeSeriesView(origin="figures", name="of each frame")
        return views.Blueprint(views.Vertical(views.Horizontal(*pictures), figures, row_shares=[3, 1]))


def _import_rerun() -> Any:
    try:
        import rerun
    except ImportError as error:
        raise RecordError(
            f"an .rrd file is written by Rerun, which is not here ({error}): pip install 'lwseg_ros[view]', or record an .mcap"
        ) from error
    return rerun
