"""The worker with the real segmenter: batches, drops by cause, and a thread that nothing ends but `stop`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from support.tiny_model import painted_image

from lwseg_ros.backends import BackendOptions
from lwseg_ros.errors import BackendError, BackendLostError, ImageError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node.backend_thread import BackendThread
from lwseg_ros.node.frame import Frame, SegmentedFrame
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.node.worker import SegmentWorker, Timing
from lwseg_ros.segmenter import Segmenter

CAMERAS = ("front", "left", "rear")


@dataclass(frozen=True)
class Settings:
    max_age_ms: float = 0.0
    output_size: Literal["camera", "model"] = "camera"


class RecordingBackend:
    """The real backend, which also notes its batches and can be told to fail."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.batch_sizes: list[int] = []
        self.failures: list[Exception] = []
        self.release = threading.Event()
        self.release.set()

    def infer(self, batch: np.ndarray) -> Any:
        self.batch_sizes.append(len(batch))
        self.release.wait(20)
        if self.failures:
            raise self.failures.pop()
        return self._backend.infer(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


@dataclass
class Bench:
    """A worker with everything around it, driven without a thread unless started."""

    segmenter: Segmenter
    backend: RecordingBackend
    settings: Settings = Settings()
    results: list[SegmentedFrame] = field(default_factory=list)
    extras: list[Timing] = field(default_factory=list)
    reports: list[tuple[str, str]] = field(default_factory=list)
    publish_failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mailbox: Mailbox[Frame] = Mailbox(CAMERAS)
        self.statistics = {camera: FrameStatistics(time.monotonic()) for camera in CAMERAS}
        self.worker = SegmentWorker(
            self.segmenter,
            self.mailbox,
            BackendThread(),
            decode=self.decode,
            settings=lambda: self.settings,
            clock_ns=time.time_ns,
            sink=self,
            statistics=self.statistics,
            report=lambda camera, text: self.reports.append((camera, text)),
        )

    @staticmethod
    def decode(message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        return message

    def publish(self, result: SegmentedFrame) -> None:
        if self.publish_failures:
            raise self.publish_failures.pop()
        self.results.append(result)

    def publish_extras(self, result: SegmentedFrame, timing: Timing) -> None:
        self.extras.append(timing)

    def put(self, camera: str, message: Any, age_s: float = 0.0) -> None:
        self.mailbox.put(camera, Frame(camera, message, time.time_ns() - int(age_s * 1e9), time.monotonic()))

    def run(self) -> None:
        """Start, wait until the mailbox is empty, and stop."""
        self.worker.start()
        deadline_s = time.monotonic() + 10
        while self.mailbox._waiting and time.monotonic() < deadline_s:
            time.sleep(0.005)
        assert self.worker.stop(10)

    def dropped(self, camera: str) -> dict[str, int]:
        snapshot = self.statistics[camera].snapshot(time.monotonic())
        return {cause: count for cause, count in snapshot.dropped.items() if count}

    def segmented(self) -> list[int]:
        return [self.statistics[camera].snapshot(time.monotonic()).answered for camera in CAMERAS]


@pytest.fixture
def bench(tiny_model: ModelFile) -> Iterator[Bench]:
    options = BackendOptions(max_batch=len(CAMERAS), num_threads=1)
    with Segmenter.open(tiny_model.path, "onnxruntime", options=options) as opened:
        backend = RecordingBackend(opened.backend)
        choice = type(opened.choice)(backend, "recorded")  # type: ignore[arg-type]
        yield Bench(Segmenter(opened.model, choice, len(CAMERAS)), backend)


def test_waiting_cameras_run_as_one_batch(bench: Bench) -> None:
    pictures = {camera: painted_image((40 + 10 * index, 60), index) for index, camera in enumerate(CAMERAS)}
    for camera, (image, _) in pictures.items():
        bench.put(camera, image)
    bench.run()
    assert bench.backend.batch_sizes == [3]
    assert [result.frame.camera for result in bench.results] == list(CAMERAS)
    for result in bench.results:
        image, _ = pictures[result.frame.camera]
        np.testing.assert_array_equal(result.segmentation.label, bench.segmenter.segment([image])[0].label)
    assert bench.segmented() == [1, 1, 1]
    assert all(0 < timing.inference_ms <= timing.processing_ms for timing in bench.extras)


def test_bad_and_stale_frames_do_not_touch_the_others(bench: Bench) -> None:
    image, _ = painted_image((48, 64))
    bench.settings = Settings(max_age_ms=500.0)
    bench.put("front", ImageError("the image data is truncated: 3 bytes"))
    bench.put("left", image, age_s=2.0)
    bench.put("rear", image)
    bench.run()
    assert bench.backend.batch_sizes == [1]
    assert bench.segmented() == [0, 0, 1]
    assert [bench.dropped(camera) for camera in CAMERAS] == [{"bad": 1}, {"stale": 1}, {}]
    assert ("front", "is bad: the image data is truncated: 3 bytes") in bench.reports
    (stale,) = [text for camera, text in bench.reports if camera == "left"]
    assert stale.endswith("max_age_ms is 500")


@pytest.mark.parametrize("failure", [BackendError("the device is lost"), RuntimeError("out of memory")])
def test_a_failing_backend_costs_the_batch_not_the_thread(bench: Bench, failure: Exception) -> None:
    image, _ = painted_image((48, 64))
    bench.backend.failures.append(failure)
    bench.put("front", image)
    bench.put("rear", image)
    bench.worker.start()
    wait_for(lambda: bench.dropped("rear"))
    assert [bench.dropped(camera) for camera in CAMERAS] == [{"error": 1}, {}, {"error": 1}]
    assert str(failure) in bench.reports[0][1]
    bench.put("front", image)
    wait_for(lambda: bench.results)
    assert bench.worker.stop(10)
    assert bench.segmented() == [1, 0, 0]


def test_an_unforeseen_message_is_a_bad_one(bench: Bench) -> None:
    bench.put("front", AttributeError("no such field"))
    bench.run()
    assert bench.dropped("front") == {"bad": 1}
    assert bench.reports == [("front", "is bad: AttributeError: no such field")]


def test_a_failed_publication_is_an_error_of_its_frame_only(bench: Bench) -> None:
    image, _ = painted_image((48, 64))
    bench.publish_failures.append(RuntimeError("publisher is gone"))
    bench.put("front", image)
    bench.put("rear", image)
    bench.run()
    assert bench.segmented() == [0, 0, 1]
    assert bench.dropped("front") == {"error": 1}


def test_frames_left_at_the_end_are_counted(bench: Bench) -> None:
    release = threading.Event()
    bench.worker._decode = lambda message: release.wait(10) and message
    image, _ = painted_image((48, 64))
    bench.put("front", image)
    bench.worker.start()
    wait_for(lambda: not bench.mailbox._waiting)
    bench.put("front", image)
    bench.put("left", image)
    stopper = threading.Thread(target=bench.worker.stop, args=(10,))
    stopper.start()
    wait_for(lambda: bench.dropped("left"))
    release.set()
    stopper.join(10)
    assert bench.segmented() == [1, 0, 0]  # what was in hand was finished
    assert [bench.dropped(camera) for camera in CAMERAS] == [{"inactive": 1}, {"inactive": 1}, {}]


def test_an_inference_that_does_not_return_is_watched_and_given_up(bench: Bench) -> None:
    image, _ = painted_image((48, 64))
    assert bench.worker.stage is None
    bench.backend.release.clear()
    bench.put("front", image)
    bench.worker.start()
    wait_for_stage(bench, "inference")
    bench.put("left", image)
    assert not bench.worker.stop(0.1)
    assert [bench.dropped(camera) for camera in CAMERAS] == [{"error": 1}, {"inactive": 1}, {}]
    wait_for_stage(bench, "inference")  # still watched
    bench.backend.release.set()
    assert bench.worker.stop(10)
    assert bench.worker.stage is None
    assert bench.segmented() == [0, 0, 0]
    assert not bench.results, "what was given up is not published"
    assert bench.dropped("front") == {"error": 1}


def test_a_decoding_that_does_not_return_is_watched_and_given_up(bench: Bench) -> None:
    release = threading.Event()
    bench.worker._decode = lambda message: release.wait(20) and message
    bench.put("front", painted_image((48, 64))[0])
    bench.worker.start()
    wait_for_stage(bench, "decoding")
    assert not bench.worker.stop(0.1)
    release.set()
    assert bench.worker.stop(10)
    assert bench.dropped("front") == {"inactive": 1}
    assert not bench.backend.batch_sizes
    assert not bench.results


@pytest.mark.parametrize("kind", ["publish", "publish_extras"])
def test_a_publication_that_does_not_return_is_watched(bench: Bench, kind: str) -> None:
    release = threading.Event()
    setattr(bench, kind, lambda *_: release.wait(20))
    bench.put("front", painted_image((48, 64))[0])
    bench.worker.start()
    wait_for_stage(bench, "publishing")
    release.set()
    assert bench.worker.stop(10)
    assert bench.worker.stage is None
    assert bench.segmented() == [1, 0, 0]


def test_each_frame_has_its_own_time_to_be_decoded(bench: Bench) -> None:
    began: list[Any] = []
    bench.worker._decode = lambda image: (began.append(bench.worker._stage), image)[1]
    for camera in CAMERAS:
        bench.put(camera, painted_image((48, 64))[0])
    bench.run()
    assert [stage for stage, _ in began] == ["decoding"] * 3
    assert len({began_s for _, began_s in began}) == 3


def test_waiting_for_the_thread_is_watched_too(bench: Bench) -> None:
    release = threading.Event()
    bench.worker._thread.submit(lambda: release.wait(20))
    bench.worker.start()
    wait_for_stage(bench, "earlier work")
    release.set()
    wait_for(lambda: bench.worker.stage is None)
    assert bench.worker.stop(10)


def test_a_lost_device_is_remembered(bench: Bench) -> None:
    bench.backend.failures.append(BackendLostError("CUDA failed for good"))
    bench.put("front", painted_image((48, 64))[0])
    bench.run()
    assert bench.dropped("front") == {"error": 1}
    assert bench.worker.lost == "CUDA failed for good"


def wait_for_stage(bench: Bench, stage: str, seconds: float = 0.2) -> None:
    wait_for(lambda: (found := bench.worker.stage) and found[0] == stage and found[1] > seconds)


def wait_for(condition: Any, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
