"""What segments: takes every camera's newest frame as one batch, beside the thread that receives, which never waits for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any, Literal, NamedTuple, Protocol

from lwseg_ros.errors import BackendLostError, LwsegError
from lwseg_ros.node.backend_thread import BackendThread
from lwseg_ros.node.frame import Frame, SegmentedFrame, frame_age
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.segmenter import Segmentation, Segmenter, Submission


class WorkerSettings(Protocol):
    """What the worker asks anew for every batch, since it may change while it runs."""

    @property
    def max_age_ms(self) -> float:
        """Drop older frames; 0 keeps all."""

    @property
    def output_size(self) -> Literal["camera", "model"]:
        """Whose pixels the results have."""


class Sink(Protocol):
    """Where results go."""

    def publish(self, result: SegmentedFrame) -> None:
        """Publish what every frame is segmented for."""

    def publish_extras(self, result: SegmentedFrame, timing: Timing) -> None:
        """Publish what is nice to have, after every camera's results are out."""


Stage = Literal["decoding", "inference", "publishing", "earlier work"]


class Timing(NamedTuple):
    """How long a frame took."""

    inference_ms: float
    """The backend's run over the whole batch."""
    processing_ms: float
    """From taking the batch to publishing the frame's label."""
    latency_ms: float
    """From the frame's stamp (or arrival, see `frame_age`) to publishing its label."""


class Batch(NamedTuple):
    """Frames on their way through the backend."""

    frames: list[Frame]
    images: list[Any]
    submission: Submission
    started_s: float
    """When the batch was taken, by a steady clock."""


class SegmentWorker:
    """Segment what the mailbox holds and hand the results on, in the backend's thread, until stopped.

    Where the backend works by itself, a frame that waits is begun before the one under way is waited for, so that it runs
    while the other is published. Where none waits, the one under way is finished at once.

    Nothing that a frame or the backend does ends it: each failure drops the frames it touches, counts them by cause, and
    is told to `report(camera, text)`. What does not return can only be watched, by `stage`, and given up, by `stop`.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        mailbox: Mailbox[Frame],
        thread: BackendThread,
        *,
        decode: Callable[[Any], Any],
        settings: Callable[[], WorkerSettings],
        clock_ns: Callable[[], int],
        sink: Sink,
        statistics: Mapping[str, FrameStatistics],
        report: Callable[[str, str], None],
    ) -> None:
        """Prepare.

        thread: the one that opened the segmenter. decode turns a message into uint8 BGR [H, W, 3] or raises
        ImageError; clock_ns is the clock of the frames' stamps.
        """
        self._segmenter = segmenter
        self._mailbox = mailbox
        self._decode = decode
        self._settings = settings
        self._clock_ns = clock_ns
        self._sink = sink
        self._statistics = statistics
        self._report = report
        self._thread = thread
        self._lock = threading.Lock()
        self._in_hand: list[Frame] = []
        self._given_up = False
        self._stage: tuple[Stage, float] | None = None  # and when it began, by a steady clock
        self.timings: deque[Timing] = deque(maxlen=300)
        self.lost = ""
        """Why the backend's device is lost to this process; empty while it is not."""

    def start(self) -> None:
        """Begin to take frames, once the thread has done what it was given before."""
        self._enter("earlier work")
        self._ended: Future[None] = self._thread.submit(self._run)

    def stop(self, timeout_s: float) -> bool:
        """Drop what waits, and finish the batch in hand; give that up after the timeout, and return False."""
        for camera in self._mailbox.close():
            self._statistics[camera].add_drop("inactive")
        if wait([self._ended], timeout_s).done:
            self._ended.result()
            return True
        with self._lock:
            self._given_up = True
            frames, self._in_hand = self._in_hand, []
        for frame in frames:
            self._drop(frame, "error", "is given up: its inference does not return")
        return False

    @property
    def stage(self) -> tuple[Stage, float] | None:
        """What the thread is busy with and for how many seconds; None while it waits for frames.

        decoding is of one frame, publishing too; inference includes resizing, there and back; earlier work is what the
        thread was given before `start`.
        """
        if (stage := self._stage) is None:
            return None
        return stage[0], time.monotonic() - stage[1]

    @property
    def waits(self) -> bool:
        """Whether the thread has not come to this worker yet, as behind an inference of an earlier one that hangs."""
        return (stage := self._stage) is not None and stage[0] == "earlier work"

    def _run(self) -> None:
        self._stage = None
        under_way: deque[Batch] = deque()
        while (waiting := self._mailbox.take(wait=not under_way)) or under_way:
            begun = self._begin(list(waiting.values()), self._settings()) if waiting else None
            if begun is not None:
                under_way.append(begun)
            if under_way and (begun is None or len(under_way) >= self._segmenter.max_under_way):
                self._finish(under_way.popleft())
            if not under_way:
                self._stage = None

    def _enter(self, stage: Stage) -> None:
        self._stage = stage, time.monotonic()

    def _begin(self, batch: list[Frame], settings: WorkerSettings) -> Batch | None:
        """Decode frames and hand them to the backend; None where none is left, or the backend fails."""
        started_s = time.monotonic()
        decoded = [(frame, image) for frame in batch if (image := self._open(frame, settings, started_s)) is not None]
        if not decoded:
            return None
        frames, images = [frame for frame, _ in decoded], [image for _, image in decoded]
        if not self._take_in_hand(frames):
            return None
        try:
            submission = self._segmenter.submit(images, output_size=settings.output_size)
        except Exception as error:
            self._fail(frames, error)
            return None
        return Batch(frames, images, submission, started_s)

    def _finish(self, batch: Batch) -> None:
        """Wait for a batch, and publish it."""
        self._enter("inference")
        try:
            try:
                results = batch.submission.collect()
            except Exception as error:
                self._fail(batch.frames, error)
                return
            self._publish(batch, results)
        finally:
            batch.submission.release()

    def _fail(self, frames: list[Frame], error: Exception) -> None:
        if isinstance(error, BackendLostError):
            self.lost = str(error)
        for frame in self._put_down(frames):
            self._drop(frame, "error", f"cannot be segmented: {_describe(error)}")

    def _publish(self, batch: Batch, results: list[Segmentation]) -> None:
        if not self._put_down(batch.frames):
            return
        published: list[tuple[SegmentedFrame, Timing]] = []
        for frame, image, segmentation in zip(batch.frames, batch.images, results, strict=True):
            self._enter("publishing")
            result = SegmentedFrame(frame, image, segmentation)
            try:
                self._sink.publish(result)
            except Exception as error:
                self._drop(frame, "error", f"cannot be published: {_describe(error)}")
                continue
            now_s = time.monotonic()
            latency_ms = frame_age(frame, now_ns=self._clock_ns(), now_s=now_s).age_ms
            self._statistics[frame.camera].add_output(now_s, latency_ms)
            published.append((result, Timing(segmentation.inference_ms, (now_s - batch.started_s) * 1e3, latency_ms)))
        for result, timing in published:
            self._enter("publishing")
            self.timings.append(timing)
            try:
                self._sink.publish_extras(result, timing)
            except Exception as error:
                self._report(result.frame.camera, f"is segmented, but its extras are not published: {_describe(error)}")

    def _take_in_hand(self, frames: list[Frame]) -> bool:
        """Begin an inference; False, with the frames dropped, where `stop` has given up waiting for us."""
        with self._lock:
            if not self._given_up:
                self._in_hand += frames
                self._enter("inference")
        for frame in frames if self._given_up else ():
            self._drop(frame, "inactive", "is given up: decoding it took too long")
        return not self._given_up

    def _put_down(self, frames: list[Frame]) -> list[Frame]:
        """End the inference of frames in hand; return them, none where `stop` has given them up."""
        with self._lock:
            if self._given_up:
                return []
            done = set(map(id, frames))
            self._in_hand = [frame for frame in self._in_hand if id(frame) not in done]
            return frames

    def _open(self, frame: Frame, settings: WorkerSettings, now_s: float) -> Any:
        """Give the frame's pixels, or None when it is to be dropped."""
        age_ms = frame_age(frame, now_ns=self._clock_ns(), now_s=now_s).age_ms
        if settings.max_age_ms and age_ms > settings.max_age_ms:
            self._drop(frame, "stale", f"is {age_ms:.0f} ms old; max_age_ms is {settings.max_age_ms:.0f}")
            return None
        self._enter("decoding")
        try:
            return self._decode(frame.message)
        except Exception as error:  # a message in a shape that nobody foresaw costs that message only
            self._drop(frame, "bad", f"is bad: {_describe(error)}")
            return None

    def _drop(self, frame: Frame, cause: str, text: str) -> None:
        self._statistics[frame.camera].add_drop(cause)
        self._report(frame.camera, text)


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, LwsegError) else f"{type(error).__name__}: {error}"
