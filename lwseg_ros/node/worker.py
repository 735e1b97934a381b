"""The thread that segments: takes every camera's newest frame as one batch, so that receiving never waits for inference."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from lwseg_ros.errors import LwsegError
from lwseg_ros.node.frame import Frame, SegmentedFrame, frame_age
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.segmenter import Segmenter


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


class Timing(NamedTuple):
    """How long a frame took."""

    inference_ms: float
    """The backend's run over the whole batch."""
    processing_ms: float
    """From taking the batch to publishing the frame's label."""
    latency_ms: float
    """From the frame's stamp (or arrival, see `frame_age`) to publishing its label."""


class SegmentWorker:
    """Segment what the mailbox holds and hand the results on, in a thread of its own, until stopped.

    Nothing that a frame or the backend does ends the thread: each failure drops the frames it touches, counts them by
    cause, and is told to `report(camera, text)`.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        mailbox: Mailbox[Frame],
        *,
        decode: Callable[[Any], Any],
        settings: Callable[[], WorkerSettings],
        clock_ns: Callable[[], int],
        sink: Sink,
        statistics: Mapping[str, FrameStatistics],
        report: Callable[[str, str], None],
    ) -> None:
        """Prepare the thread.

        decode turns a message into uint8 BGR [H, W, 3] or raises ImageError; clock_ns is the clock of the frames' stamps.
        """
        self._segmenter = segmenter
        self._mailbox = mailbox
        self._decode = decode
        self._settings = settings
        self._clock_ns = clock_ns
        self._sink = sink
        self._statistics = statistics
        self._report = report
        self._thread = threading.Thread(target=self._run, name="segment_worker")
        self.timings: deque[Timing] = deque(maxlen=300)

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch in hand, drop what waits, and end the thread."""
        for camera in self._mailbox.close():
            self._statistics[camera].add_drop("inactive")
        self._thread.join()

    def _run(self) -> None:
        while batch := self._mailbox.take():
            self._process(list(batch.values()), self._settings())

    def _process(self, batch: list[Frame], settings: WorkerSettings) -> None:
        started_s = time.monotonic()
        decoded = [(frame, image) for frame in batch if (image := self._open(frame, settings, started_s)) is not None]
        if not decoded:
            return
        try:
            results = self._segmenter.segment([image for _, image in decoded], output_size=settings.output_size)
        except Exception as error:
            for frame, _ in decoded:
                self._drop(frame, "error", f"cannot be segmented: {_describe(error)}")
            return
        published: list[tuple[SegmentedFrame, Timing]] = []
        for (frame, image), segmentation in zip(decoded, results, strict=True):
            result = SegmentedFrame(frame, image, segmentation)
            try:
                self._sink.publish(result)
            except Exception as error:
                self._drop(frame, "error", f"cannot be published: {_describe(error)}")
                continue
            now_s = time.monotonic()
            latency_ms = frame_age(frame, now_ns=self._clock_ns(), now_s=now_s).age_ms
            self._statistics[frame.camera].add_output(now_s, latency_ms)
            published.append((result, Timing(segmentation.inference_ms, (now_s - started_s) * 1e3, latency_ms)))
        for result, timing in published:
            self.timings.append(timing)
            try:
                self._sink.publish_extras(result, timing)
            except Exception as error:
                self._report(result.frame.camera, f"is segmented, but its extras are not published: {_describe(error)}")

    def _open(self, frame: Frame, settings: WorkerSettings, now_s: float) -> Any:
        """Give the frame's pixels, or None when it is to be dropped."""
        age_ms = frame_age(frame, now_ns=self._clock_ns(), now_s=now_s).age_ms
        if settings.max_age_ms and age_ms > settings.max_age_ms:
            self._drop(frame, "stale", f"is {age_ms:.0f} ms old; max_age_ms is {settings.max_age_ms:.0f}")
            return None
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
