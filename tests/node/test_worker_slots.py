"""The worker on a backend that works by itself: a frame runs while the one before it is published. On the fake GPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from support.gpu_fixture import FakeGpu, fake_gpu
from support.tiny_model import painted_image

from lwseg_ros.backends import BackendOptions
from lwseg_ros.errors import ImageError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.node.backend_thread import BackendThread
from lwseg_ros.node.frame import Frame, SegmentedFrame
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.node.worker import SegmentWorker, Timing
from lwseg_ros.segmenter import Segmenter

PICTURES = [painted_image((48, 64), seed)[0] for seed in range(6)]


@dataclass(frozen=True)
class Settings:
    max_age_ms: float = 0.0
    output_size: Literal["camera", "model"] = "camera"


@dataclass
class Bench:
    """A worker on the fake GPU, and what happens, in order. A message is the number of a picture, or an error.

    when: what to do once something has happened, such as {"decode 0": put the next frame}.
    """

    gpu: FakeGpu
    segmenter: Segmenter
    when: dict[str, Callable[[], None]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    labels: dict[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mailbox: Mailbox[Frame] = Mailbox([""])
        self.statistics = FrameStatistics(time.monotonic())
        self.worker = SegmentWorker(
            self.segmenter,
            self.mailbox,
            BackendThread(),
            decode=self.decode,
            settings=Settings,
            clock_ns=time.time_ns,
            sink=self,
            statistics={"": self.statistics},
            report=lambda camera, text: None,
        )

    def put(self, message: object) -> None:
        self.mailbox.put("", Frame("", message, time.time_ns(), time.monotonic()))

    def run(self) -> list[str]:
        """Run until "end" is asked for by `when`; return what happened."""
        self.worker.start()
        self.worker._ended.result(60)
        return self.events

    def end(self) -> None:
        self.mailbox.close()

    def happened(self, event: str) -> None:
        runs = sum(what == "run" for _, what in self.gpu.ran())
        self.events.append(f"{event}, {runs} run")
        self.when.pop(event, lambda: None)()

    def decode(self, message: Any) -> Any:
        self.happened(f"decode {message}")
        if isinstance(message, Exception):
            raise message
        return PICTURES[message]

    def publish(self, result: SegmentedFrame) -> None:
        number: Any = result.frame.message
        self.labels[number] = result.segmentation.label.copy()
        self.happened(f"publish {number}")

    def publish_extras(self, result: SegmentedFrame, timing: Timing) -> None:
        assert timing.inference_ms > 0
        np.testing.assert_array_equal(result.segmentation.label, self.labels[result.frame.message])

    def counts(self) -> dict[str, int]:
        snapshot = self.statistics.snapshot(time.monotonic())
        return {"segmented": snapshot.answered} | {cause: n for cause, n in snapshot.dropped.items() if n}


@pytest.fixture
def bench(tiny_model: ModelFile, tmp_path: Path) -> Iterator[Bench]:
    with (
        fake_gpu("tensorrt") as gpu,
        Segmenter.open(tiny_model.path, "tensorrt", options=BackendOptions(cache_dir=tmp_path)) as segmenter,
    ):
        gpu.cuda.journal.clear()
        yield Bench(gpu, segmenter)


@pytest.fixture(scope="module")
def expected(tiny_model: ModelFile) -> list[np.ndarray]:
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        return [segmenter.segment([picture])[0].label for picture in PICTURES]


def assert_right(bench: Bench, expected: list[np.ndarray]) -> None:
    for number, label in bench.labels.items():
        np.testing.assert_array_equal(label, expected[number])


def test_a_frame_runs_while_the_one_before_is_published(bench: Bench, expected: list[np.ndarray]) -> None:
    """Each frame is handed to the device before the one before it is waited for, and the newest one is taken."""

    def put_two_and_more() -> None:
        bench.put(2)
        bench.put(3)  # takes the place of 2

    bench.when = {"decode 0": lambda: bench.put(1), "publish 0": put_two_and_more, "publish 3": bench.end}
    bench.put(0)
    assert bench.run() == [
        "decode 0, 0 run",
        "decode 1, 0 run",
        "publish 0, 1 run",  # 1 is with the device
        "decode 3, 1 run",
        "publish 1, 2 run",  # 3 is with the device
        "publish 3, 3 run",
    ]
    assert bench.counts() == {"segmented": 3}
    assert_right(bench, expected)
    assert bench.worker.stage is None


def test_a_frame_that_is_alone_is_published_at_once(bench: Bench, expected: list[np.ndarray]) -> None:
    bench.when = {"publish 0": lambda: bench.put(1), "publish 1": bench.end}
    bench.put(0)
    assert bench.run() == ["decode 0, 0 run", "publish 0, 1 run", "decode 1, 1 run", "publish 1, 2 run"]
    assert_right(bench, expected)


def test_bad_frames_hold_up_none_that_is_under_way(bench: Bench) -> None:
    bad = ImageError("cut off")
    bench.when = {
        "decode 0": lambda: bench.put(bad),
        "decode cut off": lambda: bench.put(bad),
        "publish 0": bench.end,
    }
    bench.put(0)
    assert bench.run()[:3] == ["decode 0, 0 run", "decode cut off, 0 run", "publish 0, 1 run"]
    assert bench.counts()["segmented"] == 1


def test_what_is_under_way_at_the_end_is_finished(bench: Bench, expected: list[np.ndarray]) -> None:
    bench.when = {"decode 0": lambda: bench.put(1), "decode 1": bench.end}
    bench.put(0)
    bench.run()
    assert bench.counts() == {"segmented": 2}
    assert_right(bench, expected)


def test_a_kernel_that_fails_costs_its_frame_only(bench: Bench, expected: list[np.ndarray]) -> None:
    def put_last() -> None:
        bench.gpu.cuda.fail_kernel(701)
        bench.put(1)

    bench.when = {"decode 0": put_last, "publish 1": lambda: bench.put(2), "publish 2": bench.end}
    bench.put(0)
    bench.run()
    assert bench.counts() == {"segmented": 2, "error": 1}
    assert sorted(bench.labels) == [1, 2]
    assert_right(bench, expected)
    assert not bench.worker.lost


def test_a_lost_device_gives_no_label_for_either(bench: Bench) -> None:
    def put_last() -> None:
        bench.gpu.cuda.fail_kernel(700)
        bench.put(1)

    bench.when = {"decode 0": put_last, "decode 1": bench.end}
    bench.put(0)
    bench.run()
    assert bench.counts() == {"segmented": 0, "error": 2}
    assert "code 700" in bench.worker.lost


def test_two_that_do_not_return_are_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    release, hangs = threading.Event(), threading.Event()
    wait = bench.gpu.cuda.cudaEventSynchronize

    def hang(event: Any) -> Any:
        hangs.set()
        release.wait(60)
        return wait(event)

    monkeypatch.setattr(bench.gpu.cuda, "cudaEventSynchronize", hang)
    bench.when = {"decode 0": lambda: bench.put(1)}
    bench.put(0)
    bench.worker.start()
    assert hangs.wait(60)
    assert bench.worker.stage is not None
    assert bench.worker.stage[0] == "inference"
    assert not bench.worker.stop(0.1)
    assert bench.counts() == {"segmented": 0, "error": 2}
    release.set()
    assert bench.worker.stop(60)
    assert bench.counts() == {"segmented": 0, "error": 2}
    assert not bench.labels
