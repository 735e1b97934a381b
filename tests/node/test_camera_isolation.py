"""Cameras of one node, of which one misbehaves: the others keep every label. Limits and priorities, in the node itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image
from support.ros_harness import NodeProcess, Probe, image_message, values
from support.ros_subject import ros_subject
from support.tiny_model import painted_image

from lwseg_ros.imaging import messages
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter

pytestmark = pytest.mark.integration

GOOD = ("front", "rear")
BROKEN = "left"
CAMERAS = ("front", BROKEN, "rear")
SIZE_HW = (48, 64)
PICTURES = {camera: painted_image(SIZE_HW, seed)[0] for seed, camera in enumerate(CAMERAS)}
FLOOD_HZ = 200.0


def image_topic(camera: str) -> str:
    return f"/{camera}/image"


def label_topic(camera: str) -> str:
    return f"/segment/{camera}/label"


@pytest.fixture(scope="module")
def node(tiny_model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    parameters = {
        "model": tiny_model.path,
        "backend": "onnxruntime",
        "num_threads": 1,
        "diagnostics_rate_hz": 20,
        # However busy the machine, no frame is stale, no camera silent and no inference late.
        "max_age_ms": 0,
        "input_timeout_s": 3600,
        "inference_timeout_s": 0,
        "cameras": f"[{', '.join(CAMERAS)}]",
    }
    with NodeProcess(tmp_path_factory.mktemp("node"), parameters) as process:
        yield process
        assert process.process.poll() is None, f"the node died; it said:\n{process.output}"


@pytest.fixture(scope="module")
def probe(node: NodeProcess) -> Iterator[Probe]:
    probe = Probe()
    for camera in CAMERAS:
        probe.subscribe(label_topic(camera))
        probe.connect(image_topic(camera), lambda camera=camera: picture(probe, camera), label_topic(camera))
    yield probe
    probe.close()


@pytest.fixture(scope="module")
def expected(tiny_model: ModelFile) -> dict[str, np.ndarray]:
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        return {camera: segmenter.segment([PICTURES[camera]])[0].label for camera in CAMERAS}


def picture(probe: Probe, camera: str) -> Image:
    return image_message(PICTURES[camera], stamp=probe.now())


def changed(probe: Probe, **fields: Any) -> Image:
    """The broken camera's picture in a message with other fields."""
    message = picture(probe, BROKEN)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def stamped(sec: int, nanosec: int = 0) -> Image:
    return image_message(PICTURES[BROKEN], stamp=Time(sec=sec, nanosec=nanosec))


@contextmanager
def flood(make_message: Callable[[], Image]) -> Iterator[None]:
    """Publish as the broken camera, from another node and thread, 200 times a second."""
    ended = threading.Event()
    with ros_subject("flood") as source:
        publisher = source.node.create_publisher(Image, image_topic(BROKEN), 5)

        def publish() -> None:
            while not ended.wait(1 / FLOOD_HZ):
                publisher.publish(make_message())

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def assert_good_cameras_lose_nothing(
    probe: Probe, expected: dict[str, np.ndarray], misbehave: Callable[[], None] = lambda: None
) -> None:
    before = {camera: probe.settled_counts(camera) for camera in GOOD}
    for _ in range(5):
        misbehave()
        stamps = {camera: probe.publish(image_topic(camera), picture(probe, camera)) for camera in GOOD}
        for camera, stamp in stamps.items():
            label = probe.message_with_stamp(label_topic(camera), stamp)
            np.testing.assert_array_equal(messages.view(label), expected[camera])
    for camera in GOOD:
        after = probe.settled_counts(camera)
        assert {name: after[name] - before[camera][name] for name in before[camera]} == {
            **dict.fromkeys(before[camera], 0),
            "received": 5,
            "segmented": 5,
        }
        probe.status(f"segment: camera {camera}", lambda status: status.level == DiagnosticStatus.OK)


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": "bgr8x"},
        {"width": 9999},
        {"height": 40, "step": 3},
        {"data": b""},
        {"height": 1 << 31, "width": 1 << 31},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_what_is_no_image_costs_its_camera_only(
    probe: Probe, expected: dict[str, np.ndarray], fields: dict[str, Any]
) -> None:
    before = probe.settled_counts(BROKEN)
    assert_good_cameras_lose_nothing(
        probe, expected, lambda: probe.publish(image_topic(BROKEN), changed(probe, **fields)) and None
    )
    after = probe.counts(BROKEN, lambda counts: counts["dropped_bad"] > before["dropped_bad"])
    assert after["segmented"] == before["segmented"]


def test_another_size_is_that_camera_s_own_matter(probe: Probe, expected: dict[str, np.ndarray]) -> None:
    large, _ = painted_image((700, 900))

    def publish() -> None:
        stamp = probe.publish(image_topic(BROKEN), image_message(large, stamp=probe.now()))
        label = probe.message_with_stamp(label_topic(BROKEN), stamp)
        assert (label.height, label.width) == (700, 900)

    assert_good_cameras_lose_nothing(probe, expected, publish)


@pytest.mark.parametrize(("sec", "nanosec"), [(0, 0), (-5, 0), (1 << 30, 7), (2**31 - 1, 2**32 - 1)])
def test_stamps_of_another_clock_are_that_camera_s_own_matter(
    probe: Probe, expected: dict[str, np.ndarray], sec: int, nanosec: int
) -> None:
    assert_good_cameras_lose_nothing(
        probe, expected, lambda: probe.publish(image_topic(BROKEN), stamped(sec, nanosec)) and None
    )
    probe.status(f"segment: camera {BROKEN}", lambda status: values(status)["latency_from"] == "arrival")


@pytest.mark.parametrize("fields", [{}, {"encoding": "bgr8x"}], ids=["images", "rubbish"])
def test_a_flood_floods_its_camera_only(probe: Probe, expected: dict[str, np.ndarray], fields: dict[str, Any]) -> None:
    before = probe.settled_counts(BROKEN)
    with flood(lambda: changed(probe, **fields)):
        probe.counts(BROKEN, lambda counts: counts["received"] >= before["received"] + 20)
        assert_good_cameras_lose_nothing(probe, expected)
    after = probe.settled_counts(BROKEN)
    outcome = "dropped_bad" if fields else "segmented"
    assert after[outcome] > before[outcome]


def test_a_camera_that_stops_is_not_waited_with(probe: Probe, expected: dict[str, np.ndarray]) -> None:
    assert probe.set_parameters(input_timeout_s=0.5) == (True, "")
    status = probe.status(f"segment: camera {BROKEN}", lambda status: "no image on /left/image" in status.message)
    assert status.level == DiagnosticStatus.ERROR
    assert probe.set_parameters(input_timeout_s=3600) == (True, "")
    assert_good_cameras_lose_nothing(probe, expected)


def test_what_is_beyond_a_camera_s_limit_is_counted(probe: Probe, expected: dict[str, np.ndarray]) -> None:
    assert probe.set_parameters(max_rate_hz=[0.0, 0.001, 0.0]) == (True, "")
    first = probe.publish(image_topic(BROKEN), picture(probe, BROKEN))
    probe.message_with_stamp(label_topic(BROKEN), first)
    before = probe.settled_counts(BROKEN)
    assert_good_cameras_lose_nothing(
        probe, expected, lambda: probe.publish(image_topic(BROKEN), picture(probe, BROKEN)) and None
    )
    after = probe.counts(BROKEN, lambda counts: counts["received"] == before["received"] + 5)
    assert after["dropped_rate_limited"] == before["dropped_rate_limited"] + 5
    assert after["segmented"] == before["segmented"]
    as_asked_for = probe.status(f"segment: camera {BROKEN}", lambda status: status.level == DiagnosticStatus.OK)
    assert values(as_asked_for)["unanswered_s"] == "0.00"
    assert probe.set_parameters(max_rate_hz=[0.0]) == (True, "")
    probe.message_with_stamp(label_topic(BROKEN), probe.publish(image_topic(BROKEN), picture(probe, BROKEN)))


def test_priorities_change_while_the_node_is_active(probe: Probe, expected: dict[str, np.ndarray]) -> None:
    accepted, reason = probe.set_parameters(priorities=[1, 0])
    assert not accepted
    assert reason == "priorities is [1, 0] for the cameras front, left, rear; accepted: one for all, or one for each"
    assert probe.set_parameters(priorities=[0, 0, 1]) == (True, "")
    assert list(probe.get_parameter("priorities")) == [0, 0, 1]
    assert_good_cameras_lose_nothing(
        probe, expected, lambda: probe.publish(image_topic(BROKEN), picture(probe, BROKEN)) and None
    )
    assert probe.set_parameters(priorities=0, max_rate_hz=0) == (True, "")
