"""Message classes of packages that are installed or not, or hold other messages."""

from __future__ import annotations

import pytest

from lwseg_ros.imaging.message_types import find_message_type, load_message_type


def test_the_first_that_is_installed_is_taken() -> None:
    image = pytest.importorskip("sensor_msgs.msg").Image
    missing = ("no_such_msgs/msg/Nothing", "sensor_msgs/msg/Nothing")
    assert find_message_type(*missing, "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo") is image
    assert load_message_type(*missing, "sensor_msgs/msg/Image") is image


@pytest.mark.parametrize("name", ["no_such_msgs/msg/Nothing", "sensor_msgs/msg/Nothing", "sensor_msgs"])
def test_what_is_not_installed_is_named(name: str) -> None:
    assert find_message_type(name) is None
    with pytest.raises(ModuleNotFoundError, match=f"none of these message types is installed: {name}, other/msg/Type"):
        load_message_type(name, "other/msg/Type")
