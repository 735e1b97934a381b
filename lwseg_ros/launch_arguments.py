"""What the launch files work out from their arguments' texts. Knows neither launch nor rclpy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lwseg_ros.errors import LwsegError
from lwseg_ros.node_parameters import PARAMETERS


class LaunchArgumentError(LwsegError):
    """A launch argument makes no sense."""


def parameter_values(texts: Mapping[str, str]) -> dict[str, Any]:
    """Give the node's parameters in their types, from the launch arguments' texts by name.

    An empty text leaves a parameter to the parameters file. Raises LaunchArgumentError.
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if not text:
            continue
        parameter = PARAMETERS[name]
        value: Any = text
        if isinstance(parameter.default, tuple):
            value = [camera.strip() for camera in text.strip("[]").split(",")]
        elif not isinstance(parameter.default, str):
            with contextlib.suppress(yaml.YAMLError):  # what is no YAML stays a text, which does not fit
                value = yaml.safe_load(text)
        fault = parameter.fault(name, value)
        if fault:
            raise LaunchArgumentError(fault)
        values[name] = value if isinstance(value, list) else parameter.convert(value)
    return values


def remappings(cameras: Sequence[str], image: str, camera_info: str) -> list[tuple[str, str]]:
    """Give the remappings of the input topics.

    cameras: the camera names, or none for a single camera. image, camera_info: topics, with `{camera}` in place of the name
    when there are several cameras; an empty camera_info is the image's neighbour, as image_transport has it. The compressed
    topic follows the image's. Raises LaunchArgumentError.
    """
    if not image:
        return []
    if cameras and "{camera}" not in image:
        raise LaunchArgumentError(
            f"image is {image!r} for the cameras {', '.join(cameras)}; accepted: a topic with {{camera}} in it"
        )
    folder, slash, _ = image.rpartition("/")
    info = camera_info or f"{folder}{slash}camera_info"
    pairs = []
    for camera in cameras or ("",):
        prefix = f"{camera}/" if camera else ""
        pairs.append((f"{prefix}image", image.replace("{camera}", camera)))
        pairs.append((f"{prefix}camera_info", info.replace("{camera}", camera)))
    return pairs
