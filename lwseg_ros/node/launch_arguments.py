"""What the launch files work out from their arguments' texts. Does not know launch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lwseg_ros.errors import LwsegError
from lwseg_ros.host.files import load_yaml, parse_yaml
from lwseg_ros.node.parameters import PARAMETERS, Parameter

# What config/lwseg.rviz shows of a camera beside its image.
SHOWN = ("overlay", "uncertainty", "accepted", "color")


class LaunchArgumentError(LwsegError):
    """A launch argument makes no sense."""


def parameter_values(texts: Mapping[str, str], parameters: Mapping[str, Parameter] = PARAMETERS) -> dict[str, Any]:
    """Give a node's parameters in their types, from the launch arguments' texts by name.

    An empty text leaves a parameter to the parameters file. Raises LaunchArgumentError.
    """
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if not text:
            continue
        parameter = parameters[name]
        value = _value(text, parameter)
        fault = parameter.fault(name, value)
        if fault:
            raise LaunchArgumentError(fault)
        converted = parameter.convert(value)
        values[name] = list(converted) if isinstance(converted, tuple) else converted
    return values


def switch(name: str, text: str) -> bool:
    """Read a launch argument that is no parameter of the node as a YAML truth value; raises LaunchArgumentError."""
    value: Any = None
    with contextlib.suppress(yaml.YAMLError):
        value = parse_yaml(text)
    if not isinstance(value, bool):
        raise LaunchArgumentError(f"{name} is {text!r}; accepted: true or false")
    return value


def given_switch(name: str, text: str) -> dict[str, bool]:
    """Give what `switch` reads by its name; nothing where the text is empty, which leaves it to the parameters file."""
    return {name: switch(name, text)} if text else {}


def _value(text: str, parameter: Parameter) -> Any:
    """Read a text as YAML where the parameter's type asks for it; what does not fit is left to `Parameter.fault`."""
    value: Any = text
    with contextlib.suppress(yaml.YAMLError):  # what is no YAML stays a text
        value = parse_yaml(text)
    if parameter.lists_numbers:
        with contextlib.suppress(yaml.YAMLError):  # 15,5 does as well as [15, 5]
            return parse_yaml(f"[{text}]") if isinstance(value, str) else value
        return value
    if isinstance(parameter.default, tuple):
        if isinstance(value, list):
            return value or [""]
        return [name.strip() for name in (value if isinstance(value, str) else text).split(",")]
    if isinstance(parameter.default, str):
        # A file called 123 or "a: b" is one all the same; only what somebody quoted is not meant as it stands.
        return value if isinstance(value, str) and text.strip()[0] in "'\"" else text
    if isinstance(parameter.default, float) and isinstance(value, str) and "_" not in text:
        with contextlib.suppress(ValueError):  # YAML 1.1, unlike ROS, takes 1e3 for a text
            return float(value)
    return value


def cameras_of_file(path: str, name: str, namespace: str) -> list[str]:
    """Give the camera names that a ROS parameters file sets for a node; none where it sets none. Raises LaunchArgumentError."""
    value = _value_of_file("cameras", path, name, namespace)
    return [] if value is None else list(value.string_array_value)


def sim_time_of_file(path: str, name: str, namespace: str) -> bool:
    """Tell whether a ROS parameters file has a node take the time from /clock. Raises LaunchArgumentError."""
    value = _value_of_file("use_sim_time", path, name, namespace)
    return value is not None and bool(value.bool_value)


def _value_of_file(parameter: str, path: str, name: str, namespace: str) -> Any:
    """Give the rcl_interfaces/ParameterValue that a ROS parameters file sets for a node; None where it sets none.

    Raises LaunchArgumentError when the file cannot be read as one.
    """
    from rclpy.parameter import parameter_dict_from_yaml_file

    node = f"{namespace.rstrip('/')}/{name}"
    try:
        load_yaml(Path(path))  # refuses what rclpy, and the node's own reader after it, would take for ever to read
        targets = [f"/**/{name}", node]  # beside /**, as a file of several nodes has it
        parameters = parameter_dict_from_yaml_file(path, use_wildcard=True, target_nodes=targets)
    except RuntimeError:  # nothing in it is for this node
        return None
    except Exception as error:  # rclpy lets out what values raise that it does not expect
        raise LaunchArgumentError(f"params_file is {path!r}, which is no ROS parameters file: {error}") from error
    return parameters[parameter].value if parameter in parameters else None


def remappings(cameras: Sequence[str], image: str, camera_info: str) -> list[tuple[str, str]]:
    """Give the remappings of the input topics.

    cameras: the camera names; none, or one empty name, for a single camera. image, camera_info: topics, with `{camera}` in place
    of the name when there are several cameras. An empty image stays the node's; an empty camera_info is the image's neighbour,
    as image_transport has it. The compressed topic follows the image's. Raises LaunchArgumentError.
    """
    names = [camera for camera in cameras if camera]
    for argument, topic in (("image", image), ("camera_info", camera_info)):
        if len(names) > 1 and topic and "{camera}" not in topic:
            raise LaunchArgumentError(
                f"{argument} is {topic!r} for the cameras {', '.join(names)}; accepted: a topic with {{camera}} in it"
            )
        if not names and "{camera}" in topic:
            raise LaunchArgumentError(f"{argument} is {topic!r}, but no cameras are named; add cameras:=front,left")
    if image.endswith("/compressed"):
        raise LaunchArgumentError(
            f"image is {image!r}; accepted: the topic without /compressed, with transport:=compressed beside it"
        )
    folder, slash, _ = image.rpartition("/")
    info = camera_info or (f"{folder}{slash}camera_info" if image else "")
    pairs = []
    for camera in names or ("",):
        prefix = f"{camera}/" if camera else ""
        for topic, target in (("image", image), ("camera_info", info)):
            if target:
                pairs.append((f"{prefix}{topic}", target.replace("{camera}", camera)))
    return pairs


def paint_remappings(cameras: Sequence[str], points: str, segment: str) -> list[tuple[str, str]]:
    """Give the remappings of the node `paint`: the points, and of each camera what the node `segment` publishes.

    cameras: as in `remappings`. points: a topic; empty: the node's own. segment: the full name of the node.
    """
    pairs = [("points", points)] if points else []
    pairs.append(("label_info_json", f"{segment}/label_info_json"))
    for camera in cameras or ("",):
        prefix = f"{camera}/" if camera else ""
        pairs += [
            (f"{prefix}{topic}", f"{segment}/{prefix}{topic}")
            for topic in ("label", "uncertainty", "accepted", "camera_info")
        ]
    return pairs


def segment_and_paint_arguments(
    cameras: Sequence[str], image: str, camera_info: str, points: str, both: Mapping[str, Any]
) -> list[str]:
    """Give what the program `segment_and_paint` is told for each of its nodes.

    cameras, image, camera_info: as in `remappings`. points: a topic; empty: the node's own. both: parameters of both nodes.
    Raises LaunchArgumentError.
    """

    def words(pairs: Sequence[tuple[str, str]]) -> list[str]:
        given = [word for pair in pairs for word in ("-r", ":=".join(pair))]
        return given + [word for name, value in both.items() for word in ("-p", f"{name}:={json.dumps(value)}")]

    segment = words(remappings(cameras, image, camera_info))
    return ["--segment", *segment, "--paint", *words([("points", points)] if points else [])]


def rviz_remappings(cameras: Sequence[str], image: str, namespace: str, segment: str) -> list[tuple[str, str]]:
    """Give the remappings by which config/lwseg.rviz shows the first camera, whatever namespace and name the nodes have.

    cameras, image: as in `remappings`. segment: the name of the node `segment`.
    """
    prefix = f"/{namespace}".replace("//", "/").rstrip("/")
    name = cameras[0] if cameras else ""
    camera = f"{name}/" if name else ""
    topic = image.replace("{camera}", name) or f"{camera}image"
    return [
        ("/image", topic if topic.startswith("/") else f"{prefix}/{topic}"),
        *((f"/segment/{kind}", f"{prefix}/{segment}/{camera}{kind}") for kind in SHOWN),
        ("/paint/points", f"{prefix}/paint/points"),
    ]
