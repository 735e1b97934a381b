"""tf2 where there is one: no wheel has it, so a stand-in with the signatures of tf2_ros shows what is asked of it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from rclpy.parameter import Parameter
from rclpy.time import Time
from support.ros_subject import ros_subject

from lwseg_ros.errors import TransformError
from lwseg_ros.node.paint import transforms

pytestmark = pytest.mark.integration


class TransformException(Exception):  # noqa: N818  tf2's name
    pass


class Buffer:
    """Knows that `lidar` is 1 m ahead of `camera`, and of nothing else."""

    asked: tuple[Any, ...] = ()

    is_empty = False

    def clear(self) -> None:
        self.is_empty = True

    def lookup_transform_core(self, target_frame: str, source_frame: str, time: Time) -> Any:
        self.asked = (target_frame, source_frame, time.nanoseconds)
        return self._answer(target_frame)

    def lookup_transform_full_core(
        self, target_frame: str, target_time: Time, source_frame: str, source_time: Time, fixed_frame: str
    ) -> Any:
        self.asked = (target_frame, target_time.nanoseconds, source_frame, source_time.nanoseconds, fixed_frame)
        return self._answer(target_frame)

    def _answer(self, target_frame: str) -> Any:
        if target_frame != "camera":
            raise TransformException('"radar" passed to lookupTransform\ndoes not exist.')
        shift = SimpleNamespace(x=1.0, y=0.0, z=0.0)
        turn = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        return SimpleNamespace(transform=SimpleNamespace(translation=shift, rotation=turn))


class TransformListener:
    def __init__(self, buffer: Buffer, node: Any, *, spin_thread: bool = False) -> None:
        self.is_open = not spin_thread

    def unregister(self) -> None:
        self.is_open = False


@pytest.fixture
def tf2(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("tf2_ros")
    module.Buffer, module.TransformListener = Buffer, TransformListener  # type: ignore[attr-defined]
    module.TransformException = TransformException  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace(name="tf2_ros")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


def test_tf2_is_asked_at_both_times(tf2: ModuleType) -> None:
    with ros_subject("tf2") as subject:
        found = transforms.listen(subject.node, print)
        assert isinstance(found, transforms.Tf2Transforms)
        motion = found.lookup("camera", 20, "lidar", 10, "odom")
        assert found._buffer.asked == ("camera", 20, "lidar", 10, "odom")
        assert np.array_equal(motion @ [0, 0, 0, 1], [1, 0, 0, 1])
        found.lookup("camera", 20, "lidar", 20, "")
        assert found._buffer.asked == ("camera", "lidar", 20)
        with pytest.raises(TransformError, match='"radar" passed to lookupTransform does not exist'):
            found.lookup("radar", 20, "lidar", 20, "")
        subject.node.set_parameters([Parameter("use_sim_time", value=True)])
        subject.spin_until(lambda: found._buffer.is_empty, "another clock")
        found.close()
        assert not found._listener.is_open


def test_without_tf2_there_is_a_buffer_of_our_own() -> None:
    if "tf2_ros" in sys.modules or transforms.importlib.util.find_spec("tf2_ros"):
        pytest.skip("tf2_ros is installed")
    with ros_subject("own") as subject:
        found = transforms.listen(subject.node, print)
        assert isinstance(found, transforms.StampedTransforms)
        found.close()


def test_a_clock_that_becomes_another_forgets_what_moves() -> None:
    with ros_subject("own") as subject:
        found = transforms.StampedTransforms(subject.node, print)
        found._buffer.add("odom", "lidar", 1, (0, 0, 0), (0, 0, 0, 1))
        assert found.lookup("odom", 1, "lidar", 1, "").shape == (4, 4)
        subject.node.set_parameters([Parameter("use_sim_time", value=True)])
        subject.spin_until(lambda: not found._buffer._edges, "another clock")
        with pytest.raises(TransformError, match="are not connected"):
            found.lookup("odom", 1, "lidar", 1, "")
        found.close()
