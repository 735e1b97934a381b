"""The thread that paints: waits for what belongs to a sweep, and accounts for every one."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lwseg_ros.errors import CalibrationError, ImageError, PointCloudError, TransformError
from lwseg_ros.node.paint.classes import LabelClasses
from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.node.paint.patience import Patience
from lwseg_ros.node.paint.sources import Sources
from lwseg_ros.node.paint.sweep_queue import Sweep, SweepQueue
from lwseg_ros.node.paint.transforms import Transforms
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.painting.painter import LabelImages, Occlusion, PaintedPoints, View, paint
from lwseg_ros.painting.point_cloud import point_times_ns, positions, read_points
from lwseg_ros.painting.projection import Projection
from lwseg_ros.painting.sweep import SweepTimes

# Why a camera takes no part in painting a sweep; of a sweep in which none does, it is the first camera's.
CAMERA_CAUSES = ("no_labels", "no_calibration", "no_transform")
# superseded: others waited behind it, and its time was over, or time began anew. bad: no usable cloud. no_classes: nobody has
# said what the labels mean. error: a fault of this program. inactive: the node was deactivated before the sweep was painted.
SWEEP_CAUSES = ("superseded", "bad", "no_classes", *CAMERA_CAUSES, "error", "inactive")
# How often transforms are asked for that are not there yet.
RETRY_S = 0.005
# How often to look whether a camera has fallen silent, which nothing else tells.
LOOK_S = 0.05


class MissingError(Exception):
    """What a camera lacks to take part, by cause and in words."""

    def __init__(self, cause: str, reason: str) -> None:
        """Keep both."""
        super().__init__(reason)
        self.cause = cause


@dataclass
class CameraCounts:
    """In how many sweeps a camera took part, in how many it did not, by cause, and why it last did not."""

    used: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    last_reason: str = ""


@dataclass(frozen=True)
class PaintedSweep:
    """A sweep's points [N] with their own fields, what they were painted, and what the labels mean."""

    sweep: Sweep
    points: np.ndarray
    painted: PaintedPoints
    classes: LabelClasses


@dataclass(frozen=True)
class _Points:
    """A sweep that has been read."""

    sweep: Sweep
    raw: np.ndarray
    xyz: np.ndarray
    times: SweepTimes

    @property
    def middle_ns(self) -> int:
        return (self.times.knots_ns[0] + self.times.knots_ns[-1]) // 2


class PaintWorker:
    """Paint sweeps in their order until stopped. Nothing that a sweep holds ends it; each failure is counted and reported."""

    def __init__(
        self,
        queue: SweepQueue,
        transforms: Transforms,
        *,
        settings: Callable[[], PaintSettings],
        statistics: FrameStatistics,
        publish: Callable[[PaintedSweep], None],
        report: Callable[[str], None],
        sources: Sources,
    ) -> None:
        """Prepare; report is told in words what became of a sweep or a camera's part in it, sources names what did not come."""
        self._queue = queue
        self._transforms = transforms
        self._settings = settings
        self._statistics = statistics
        self._publish = publish
        self._report = report
        self._sources = sources
        self._thread = threading.Thread(target=self._run, name="paint", daemon=True)
        self._patience = {camera: Patience() for camera in queue.histories}
        self.counts = {camera: CameraCounts() for camera in queue.histories}
        self.last_drop = ""
        """Why the last sweep was dropped that was; empty while none was."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Drop what waits, give up the sweep in hand before its next camera, and return whether the thread has ended."""
        for _ in range(self._queue.close()):
            self._statistics.add_drop("inactive")
        self._thread.join(timeout_s)
        return not self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while (sweep := self._queue.take()) is not None:
            try:
                self._handle(sweep)
            except MissingError as error:
                self._drop(error.cause, str(error))
            except Exception:  # a fault of ours, which must not end the painting
                self._drop("error", traceback.format_exc())

    def _drop(self, cause: str, reason: str) -> None:
        self.last_drop = reason
        self._statistics.add_drop(cause)
        self._report(f"a sweep is dropped ({cause}): {reason}")

    def _handle(self, sweep: Sweep) -> None:
        settings = self._settings()
        deadline_s = sweep.arrival_s + settings.max_wait_ms / 1e3
        if time.monotonic() > deadline_s and self._queue.others_wait:
            raise MissingError("superseded", f"others wait, and it is older than max_wait_ms {settings.max_wait_ms:g}")
        points = _read(sweep, settings)
        awaited = self._awaited(settings)
        self._wait_for_images(points, awaited, settings, deadline_s)
        self._check_active()
        classes = self._queue.classes
        if classes is None:
            raise MissingError("no_classes", self._sources.no_classes())
        views = self._views(points, awaited, settings, deadline_s)
        painted = paint(
            points.xyz,
            points.times,
            self._while_active(views),
            no_class=classes.no_class,
            occlusion=Occlusion(settings.occlusion_angle_deg, settings.occlusion_tolerance),
        )
        self._publish(PaintedSweep(sweep, points.raw, painted, classes))
        now_s = time.monotonic()
        self._statistics.add_output(now_s, (now_s - sweep.arrival_s) * 1e3)

    def _check_active(self) -> None:
        if self._queue.is_closed:
            raise MissingError("inactive", "the node was deactivated")

    def _while_active(self, views: Sequence[View]) -> Iterator[View]:
        for view in views:
            self._check_active()  # a camera's part may take a second
            yield view

    def _awaited(self, settings: PaintSettings) -> Collection[str]:
        """Name the cameras that are worth waiting for; all where none is, since then no other is late for them."""
        now_s, while_s = time.monotonic(), settings.input_timeout_s
        awaited = [
            camera
            for camera, patience in self._patience.items()
            if now_s - self._queue.last_image_s[camera] < while_s and patience.lasts(now_s, while_s)
        ]
        return awaited or self._patience

    def _wait_for_images(
        self, points: _Points, awaited: Collection[str], settings: PaintSettings, deadline_s: float
    ) -> None:
        """Wait until every camera that is awaited and not silent has its images, or the time is over."""
        queue = self._queue

        def is_ready() -> bool:
            oldest_s = time.monotonic() - settings.input_timeout_s
            heard = [queue.histories[camera] for camera in awaited if queue.last_image_s[camera] > oldest_s]
            settled = all(history.is_settled(points.middle_ns) for history in heard)
            return queue.is_closed or (queue.classes is not None and settled)

        with queue.changed:
            while not is_ready() and (left_s := deadline_s - time.monotonic()) > 0:
                queue.changed.wait(min(left_s, LOOK_S))

    def _views(
        self, points: _Points, awaited: Collection[str], settings: PaintSettings, deadline_s: float
    ) -> list[View]:
        """Give what each camera saw, in their order; transforms are asked for again and again until the time is over.

        Raises MissingError where no camera can take part.
        """
        views: dict[str, View] = {}
        missing: dict[str, MissingError] = {}
        cameras: Collection[str] = self.counts
        while True:
            for camera in cameras:
                missing.pop(camera, None)
                try:
                    views[camera] = self._view(camera, points, settings)
                except MissingError as error:
                    missing[camera] = error
            cameras = [camera for camera in awaited if camera in missing and missing[camera].cause == "no_transform"]
            if not cameras or time.monotonic() > deadline_s:
                break
            self._check_active()
            time.sleep(RETRY_S)
        now_s = time.monotonic()
        for camera, counts in self.counts.items():
            took_part = camera in views
            self._patience[camera].tell(now_s, was_awaited=camera in awaited, took_part=took_part)
            if took_part:
                counts.used += 1
            else:
                self._count_missing(camera, missing[camera])
        if not views:
            raise missing[next(iter(self.counts))]
        return [views[camera] for camera in self.counts if camera in views]

    def _count_missing(self, camera: str, error: MissingError) -> None:
        self.counts[camera].missing[error.cause] += 1
        self.counts[camera].last_reason = str(error)
        who = f"camera {camera}".rstrip()
        self._report(f"{who} takes no part ({error.cause}): {error}")

    def _view(self, camera: str, points: _Points, settings: PaintSettings) -> View:
        """Give what a camera saw; raises MissingError."""
        tolerance_ns = int(settings.max_time_difference_ms * 1e6)
        with self._queue.changed:
            history = self._queue.histories[camera]
            try:
                images = history.nearest(points.middle_ns, tolerance_ns)
            except ImageError as error:
                raise MissingError("no_labels", str(error)) from error
            if images is None:
                reason = self._sources.no_labels(
                    camera,
                    history,
                    settings,
                    middle_ns=points.middle_ns,
                    arrival_s=points.sweep.arrival_s,
                    last_image_s=self._queue.last_image_s[camera],
                    now_s=time.monotonic(),
                )
                raise MissingError("no_labels", reason)
            info = history.camera_info_at(images.stamp_ns)
        if info is None:
            raise MissingError("no_calibration", self._sources.no_camera_info(camera))
        height, width = images.label.shape
        try:
            projection = Projection.of_camera_info(info, (height, width), is_rectified=settings.rectified)
        except (CalibrationError, ValueError) as error:  # the latter: a matrix of another size
            raise MissingError("no_calibration", f"its camera_info does not serve: {error}") from error
        try:
            poses = self._poses(images, points, settings.fixed_frame)
        except TransformError as error:
            raise MissingError("no_transform", str(error)) from error
        return View(images, projection, poses.__getitem__)

    def _poses(self, images: LabelImages, points: _Points, fixed_frame: str) -> dict[int, np.ndarray]:
        """Ask for the camera's pose at every knot of the sweep; raises TransformError."""
        cloud_frame = points.sweep.message.header.frame_id
        return {
            knot_ns: self._transforms.lookup(
                images.frame_id,
                images.stamp_ns,
                cloud_frame,
                knot_ns if fixed_frame else images.stamp_ns,
                fixed_frame,
            )
            for knot_ns in points.times.knots_ns
        }


def _read(sweep: Sweep, settings: PaintSettings) -> _Points:
    message = sweep.message
    stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
    try:
        raw = read_points(message)
        xyz = positions(raw)
        has_echo = np.isfinite(xyz).all(axis=0)
        times = SweepTimes.of(point_times_ns(raw, stamp_ns, settings.point_time_field, has_echo=has_echo), stamp_ns)
    except PointCloudError as error:
        raise MissingError("bad", str(error)) from error
    first_ns = min(stamp_ns, times.knots_ns[0])
    if first_ns <= 0:  # tf2 takes 0 for the newest time, and rclpy has none below
        raise MissingError("bad", f"its stamp or first point's time is {first_ns / 1e9:g} s; accepted: above 0")
    return _Points(sweep, raw, xyz, times)
