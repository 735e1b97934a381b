"""A backend that hangs, breaks or gives nonsense, in a node of its own: said in the diagnostics, and no false label."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from support.ros_harness import NodeProcess, Probe, image_message, values
from support.tiny_model import painted_image

from lwseg_ros.backends import BackendOptions
from lwseg_ros.imaging import messages
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter

pytestmark = pytest.mark.integration

LABEL = "/segment/label"
IMAGE = painted_image((48, 64))[0]
SUPPORT = Path(__file__).parents[1] / "support"
PROGRAM = (str(SUPPORT / "faulty_node.py"),)


class FaultyNode(NodeProcess):
    """The node with the faulty backend, and a probe that publishes images to it."""

    def __init__(self, folder: Path, model: ModelFile, **parameters: object) -> None:
        self._fault_file = folder / "fault"
        defaults: dict[str, object] = {"model": model.path, "backend": "onnxruntime", "num_threads": 1}
        environment = {
            "FAULT_FILE": str(self._fault_file),
            "FAKE_CUDA_ERROR": str(folder / "cuda_error"),
            "XDG_CACHE_HOME": str(folder),
        }
        if parameters.get("backend") == "tensorrt":
            environment["PYTHONPATH"] = os.pathsep.join([str(SUPPORT / "fake_gpu"), os.environ.get("PYTHONPATH", "")])
        super().__init__(folder, defaults | parameters, program=PROGRAM, environment=environment)
        self.probe = Probe()
        self.probe.subscribe(LABEL)

    def __exit__(self, *error: object) -> None:
        self.probe.close()
        super().__exit__(*error)

    def work(self) -> None:
        self.probe.connect("/image", lambda: image_message(IMAGE, stamp=self.probe.now()), LABEL)

    def fault(self, name: str) -> None:
        """Set the fault, when what was published before has come back."""
        self.probe.spin_for(0.3)
        write_at_once(self._fault_file, name)
        self.probe.received[LABEL].clear()

    def status_while_publishing(self, name: str, accept: Callable[[DiagnosticStatus], Any]) -> DiagnosticStatus:
        """Publish at 10 Hz until a status is accepted."""
        found: list[DiagnosticStatus] = []
        publisher = self.probe.publisher("/image", type(image_message(IMAGE, stamp=self.probe.now())))
        self.probe.received["/diagnostics"].clear()

        def look() -> bool:
            publisher.publish(image_message(IMAGE, stamp=self.probe.now()))
            self.probe.spin_for(0.1)
            arrays = self.probe.received["/diagnostics"]
            found.extend(s for array in arrays for s in array.status if s.name == name and accept(s))
            return bool(found)

        self.probe.spin_until(look, f"a status {name!r} as expected")
        return found[0]


@pytest.fixture
def start(tiny_model: ModelFile, tmp_path: Path) -> Iterator[Callable[..., FaultyNode]]:
    started: list[FaultyNode] = []

    def begin(**parameters: object) -> FaultyNode:
        started.append(FaultyNode(tmp_path, tiny_model, **parameters))
        return started[-1]

    yield begin
    for node in started:
        node.__exit__()


def write_at_once(path: Path, text: str) -> None:
    """Write a file that another process reads at any time."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def is_error(status: DiagnosticStatus) -> bool:
    return status.level == DiagnosticStatus.ERROR


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise", "RuntimeError: the engine broke"),
        ("foreign id", "the model gave labels [77], which are no classes of its manifest"),
        ("other dtype", "the runtime gave label as int64 [1, 48, 64], expected uint8 [1, 48, 64]"),
        ("other shape", "the runtime gave uncertainty as uint8 [1, 24, 64], expected uint8 [1, 48, 64]"),
    ],
)
def test_a_broken_backend_is_an_error_and_gives_no_label(
    start: Callable[..., FaultyNode], tiny_model: ModelFile, fault: str, reason: str
) -> None:
    node = start()
    node.work()
    node.fault(fault)
    began_s = time.monotonic()
    status = node.status_while_publishing("segment: inference", is_error)
    assert "frames failed since the last report" in status.message
    assert time.monotonic() - began_s < 10
    assert (
        "images come, but no label"
        in node.status_while_publishing(
            "segment: camera", lambda status: is_error(status) and "no label" in status.message
        ).message
    )
    assert not node.probe.received[LABEL]
    assert reason in node.output
    node.fault("")
    node.work()
    with Segmenter.open(tiny_model.path, "onnxruntime", options=BackendOptions(num_threads=1)) as segmenter:
        expected = segmenter.segment([IMAGE])[0].label
    np.testing.assert_array_equal(messages.view(node.probe.received[LABEL][-1]), expected)


@pytest.mark.parametrize(
    ("fault", "stage", "parameters"),
    [
        ("hang", "inference", {}),
        ("decoding hangs", "decoding", {}),
        ("decoding hangs", "decoding", {"backend": "tensorrt", "on_backend_loss": "cpu"}),  # which is no help here
    ],
)
def test_a_hung_batch_is_an_error_and_ends_the_process(
    start: Callable[..., FaultyNode], fault: str, stage: str, parameters: dict[str, object]
) -> None:
    node = start(**parameters)
    node.work()
    node.fault(fault)
    status = node.status_while_publishing("segment: inference", is_error)
    assert f"the {stage} in hand has been running for 1." in status.message
    camera = node.status_while_publishing("segment: camera", is_error)
    assert "images come, but no label for" in camera.message
    assert node.wait() == 3
    assert "the process ends, to be started again" in node.output
    assert not node.probe.received[LABEL]


def test_a_hung_inference_that_returns_is_over(start: Callable[..., FaultyNode]) -> None:
    node = start()
    node.work()
    node.fault("hang 3")
    node.status_while_publishing("segment: inference", is_error)
    node.fault("")
    node.work()
    node.probe.status("segment: inference", lambda status: status.level == DiagnosticStatus.OK)
    # Logged by the watchdog's own timer, which may come after the diagnostics'.
    node.probe.spin_until(lambda: "inference goes on" in node.output, "the log's 'inference goes on'")


@pytest.mark.parametrize(("fault", "timeout_s"), [("hang", 0.0), ("hang", 1.0), ("decoding hangs", 1.0)])
def test_transitions_answer_while_a_batch_hangs(start: Callable[..., FaultyNode], fault: str, timeout_s: float) -> None:
    node = start(inference_timeout_s=timeout_s, input_timeout_s=0.5)
    node.work()
    node.fault(fault)
    node.status_while_publishing("segment: camera", is_error)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        began_s = time.monotonic()
        assert node.probe.transition(transition)
        assert time.monotonic() - began_s < 5
    node.fault("")
    assert node.probe.transition(Transition.TRANSITION_CONFIGURE)
    assert node.probe.transition(Transition.TRANSITION_ACTIVATE)
    node.work()
    assert node.end(signal.SIGTERM) == 0


def test_activating_again_behind_a_hung_inference_is_watched(start: Callable[..., FaultyNode]) -> None:
    node = start()
    node.work()
    node.fault("hang")
    node.status_while_publishing("segment: inference", is_error)
    assert node.probe.transition(Transition.TRANSITION_DEACTIVATE)
    assert "inactive, the inference in hand" in node.probe.status("segment: inference", is_error).message
    assert node.probe.transition(Transition.TRANSITION_ACTIVATE)
    assert node.wait() == 3
    assert "inference goes on" not in node.output


def test_opening_that_hangs_is_an_error(start: Callable[..., FaultyNode], tmp_path: Path) -> None:
    (tmp_path / "fault").write_text("open hangs")
    node = start()
    status = node.probe.status("segment: inference", is_error)
    assert status.message.startswith("configuring, the model has been opening for 1")
    assert "TensorRT" not in status.message, "which is not tried"
    began_s = time.monotonic()
    assert node.end(signal.SIGTERM) == 0
    assert time.monotonic() - began_s < 6


STICKY = [214, 700, 716, 719]


@pytest.mark.parametrize("code", STICKY)
def test_a_lost_cuda_device_ends_the_process(start: Callable[..., FaultyNode], tmp_path: Path, code: int) -> None:
    node = start(backend="tensorrt")
    node.work()
    node.fault("")
    write_at_once(tmp_path / "cuda_error", str(code))
    began_s = time.monotonic()
    status = node.status_while_publishing("segment: inference", lambda status: "the device is lost" in status.message)
    assert time.monotonic() - began_s < 10
    assert is_error(status)
    assert f"code {code}" in status.message
    assert node.wait() == 3
    assert not node.probe.received[LABEL]
    assert "Traceback" not in node.output


@pytest.mark.parametrize("code", STICKY)
def test_a_lost_cuda_device_is_done_without_where_that_is_wanted(
    start: Callable[..., FaultyNode], tmp_path: Path, tiny_model: ModelFile, code: int
) -> None:
    node = start(backend="tensorrt", on_backend_loss="cpu")
    node.work()
    assert values(node.probe.status("segment: inference"))["backend"] == "tensorrt"
    node.fault("")
    write_at_once(tmp_path / "cuda_error", str(code))
    status = node.status_while_publishing(
        "segment: inference", lambda status: values(status).get("backend", "tensorrt") != "tensorrt"
    )
    assert status.level == DiagnosticStatus.WARN
    assert f"code {code}" in values(status)["fallback_reason"]
    node.work()
    counts = node.probe.counts()
    assert counts["dropped_error"] >= 1
    with Segmenter.open(tiny_model.path, "auto", options=BackendOptions(num_threads=1)) as segmenter:
        expected = segmenter.segment([IMAGE])[0].label
    np.testing.assert_array_equal(messages.view(node.probe.received[LABEL][-1]), expected)
    assert node.end(signal.SIGTERM) == 0


def test_a_gpu_that_hangs_is_done_without_where_that_is_wanted(
    start: Callable[..., FaultyNode], tmp_path: Path
) -> None:
    node = start(backend="tensorrt", on_backend_loss="cpu")
    node.work()
    write_at_once(tmp_path / "cuda_error", "hang")
    status = node.status_while_publishing(
        "segment: inference", lambda status: values(status).get("backend", "tensorrt") != "tensorrt"
    )
    assert "the inference in hand has been running for" in values(status)["fallback_reason"]
    node.work()
    began_s = time.monotonic()
    assert node.end(signal.SIGTERM) == 0
    assert time.monotonic() - began_s < 6


def lose_device(node: FaultyNode, folder: Path, fault: str) -> None:
    """Lose the CUDA device of a working node, and wait until a runtime on the CPU is being opened, with a fault."""
    node.work()
    node.fault(fault)
    write_at_once(folder / "cuda_error", "700")
    node.probe.publish("/image", image_message(IMAGE, stamp=node.probe.now()))
    node.probe.spin_until((folder / "fault.opening").exists, "the opening of a runtime on the CPU")


def test_opening_a_fallback_that_hangs_is_an_error_and_blocks_nothing(
    start: Callable[..., FaultyNode], tmp_path: Path
) -> None:
    node = start(backend="tensorrt", on_backend_loss="cpu", input_timeout_s=0.5)
    lose_device(node, tmp_path, "open hangs")
    status = node.probe.status("segment: inference", lambda status: "has been opening for 2 s" in status.message)
    assert is_error(status)
    assert status.message.startswith("active, the device is lost to this process: ")
    assert "; a runtime on the CPU has been opening" in status.message
    cameras = [s for array in node.probe.received["/diagnostics"] for s in array.status if s.name == "segment: camera"]
    assert (cameras[-1].level, cameras[-1].message) == (DiagnosticStatus.OK, "inactive")
    assert "no image on" not in node.output.partition("the device is lost")[2]
    assert node.probe.state() == "active"
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        began_s = time.monotonic()
        assert node.probe.transition(transition)
        assert time.monotonic() - began_s < 5
    node.probe.status("segment: inference", lambda status: status.message == "unconfigured")
    node.fault("")
    assert node.probe.set_parameters(backend="auto") == (True, "")
    assert node.probe.transition(Transition.TRANSITION_CONFIGURE)
    assert node.probe.transition(Transition.TRANSITION_ACTIVATE)
    node.work()
    assert node.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("again", [True, False])
def test_deactivated_while_a_fallback_is_opened(start: Callable[..., FaultyNode], tmp_path: Path, again: bool) -> None:
    node = start(backend="tensorrt", on_backend_loss="cpu")
    lose_device(node, tmp_path, "open hangs 4")
    assert node.probe.transition(Transition.TRANSITION_DEACTIVATE)
    if again:
        assert node.probe.transition(Transition.TRANSITION_ACTIVATE)
    else:
        node.probe.status("segment: inference", lambda status: "inactive, on " in status.message)
        assert node.probe.transition(Transition.TRANSITION_ACTIVATE)
    node.work()
    assert " as a fallback: tensorrt: the device is lost" in node.probe.status("segment: inference").message


def test_no_runtime_on_the_cpu_either_ends_the_process(start: Callable[..., FaultyNode], tmp_path: Path) -> None:
    node = start(backend="tensorrt", on_backend_loss="cpu")
    node.work()
    node.fault("open fails")
    write_at_once(tmp_path / "cuda_error", "700")
    node.probe.publish("/image", image_message(IMAGE, stamp=node.probe.now()))
    assert node.wait() == 3
    assert "no runtime on the CPU either: no backend could be opened" in node.output


@pytest.mark.parametrize("code", [2, 701])
def test_another_cuda_error_costs_its_frames_only(start: Callable[..., FaultyNode], tmp_path: Path, code: int) -> None:
    node = start(backend="tensorrt")
    node.work()
    write_at_once(tmp_path / "cuda_error", str(code))
    node.status_while_publishing("segment: camera", lambda status: values(status)["dropped_error"] == "1")
    node.work()
    assert f"code {code}" in node.output
    assert values(node.probe.status("segment: inference"))["backend"] == "tensorrt"
    assert "the device is lost" not in node.output
