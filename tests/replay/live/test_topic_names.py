"""Recorded names, made legal."""

from __future__ import annotations

import pytest

from lwseg_ros.replay.live.topic_names import legal_topic


@pytest.mark.parametrize(
    ("recorded", "played"),
    [
        ("/cam/image_raw/compressed", "/cam/image_raw/compressed"),
        ("/_hidden/a__b", "/_hidden/a__b"),
        ("/cam/0/image_raw", "/cam/_0/image_raw"),
        ("/cam/0/camera_info", "/cam/_0/camera_info"),
        ("/cam-1/image raw", "/cam_1/image_raw"),
        ("/Ünï/1.5/ímage", "/_n_/_1_5/_mage"),
        ("image_raw", "/image_raw"),
        ("//cam//image/", "/cam/image"),
        ("~/image{name}", "/_/image_name_"),
        ("", "/_"),
        ("///", "/_"),
        ("/cam" + "/x" * 200, "/cam" + "/x" * 121),
    ],
)
def test_names(recorded: str, played: str) -> None:
    assert legal_topic(recorded) == played
    assert legal_topic(played) == played


def test_ros_agrees() -> None:
    validate = pytest.importorskip("rclpy.validate_full_topic_name").validate_full_topic_name
    for name in ("/cam/0/image", "a b", "", "/1", "/é/٣/x", "/" + "x" * 300, "/x" * 200, "\0", "{a}/~"):
        assert validate(legal_topic(name))
