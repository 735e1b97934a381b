"""What the launch files have in common. Alone in knowing `launch`, which comes with a ROS distribution only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.launch_context import LaunchContext
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from lwseg_ros.node.launch_arguments import (
    cameras_of_file,
    given_switch,
    parameter_values,
    rviz_remappings,
    sim_time_of_file,
)
from lwseg_ros.node.parameters import Parameter

CONFIG = Path(get_package_share_directory("lwseg_ros")) / "config"


def text(context: LaunchContext, name: str) -> str:
    """Give an argument's text."""
    value: str = LaunchConfiguration(name).perform(context)
    return value


def process_arguments(params_file: str) -> list[DeclareLaunchArgument]:
    """Declare what every process of ours takes; params_file: the shipped one that is the default."""
    return [
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(CONFIG / params_file),
            description="Parameters file; arguments given here come before it.",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            description="Take the time from /clock: true or false; empty: as the parameters file says.",
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="Log level of the node."),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            choices=["true", "false"],
            description="Start the node again when it ends.",
        ),
        DeclareLaunchArgument(
            "fastdds_builtin_transports",
            # Not LARGE_DATA by default: a node with it finds no publisher without it.
            default_value=EnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", default_value=""),
            description="Transports of Fast DDS, such as LARGE_DATA here and at the publisher; docs/middleware.md tells more.",
        ),
    ]


def node_arguments(name: str, parameters: Mapping[str, Parameter]) -> list[DeclareLaunchArgument]:
    """Declare a node's name, and its parameters, each of which is an argument."""
    return [
        DeclareLaunchArgument("name", default_value=name, description="Name of the node."),
        *(
            DeclareLaunchArgument(
                name, default_value="", description=f"{parameter.description} Accepted: {parameter.accepted}."
            )
            for name, parameter in parameters.items()
        ),
    ]


def camera_arguments() -> list[DeclareLaunchArgument]:
    """Declare the topics of the cameras."""
    return [
        DeclareLaunchArgument(
            "image",
            default_value="",
            description="Image topic, without /compressed; with cameras:=front,left one such as /sensing/{camera}/image_raw.",
        ),
        DeclareLaunchArgument(
            "camera_info", default_value="", description="CameraInfo topic; empty: the image's neighbour."
        ),
    ]


def rviz_arguments() -> list[DeclareLaunchArgument]:
    """Declare whether RViz is started, and with what."""
    return [
        DeclareLaunchArgument(
            "rviz", default_value="false", choices=["true", "false"], description="Show the results in RViz."
        ),
        DeclareLaunchArgument(
            "rviz_config", default_value=str(CONFIG / "lwseg.rviz"), description="Configuration of RViz."
        ),
    ]


def process(context: LaunchContext, executable: str, *, arguments: Sequence[str] = (), **options: Any) -> Node:
    """Start one of our programs with the namespace, log level and the rest of `process_arguments`; options: of `Node`."""
    transports = text(context, "fastdds_builtin_transports")
    return Node(
        package="lwseg_ros",
        executable=executable,
        namespace=text(context, "namespace"),
        additional_env={"FASTDDS_BUILTIN_TRANSPORTS": transports} if transports else {},
        arguments=[*arguments, "--ros-args", "--log-level", text(context, "log_level")],
        respawn=text(context, "respawn") == "true",
        respawn_delay=2.0,
        output="screen",
        **options,
    )


def given_parameters(context: LaunchContext, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Give the parameters whose arguments are not empty."""
    return parameter_values({name: text(context, name) for name in parameters}, parameters)


def node(
    context: LaunchContext, executable: str, values: Mapping[str, Any], remappings: Sequence[tuple[str, str]]
) -> Node:
    """Start a program of one node; values: parameters that come before the file's."""
    # A text such as "1" would otherwise be read as a number.
    typed = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in values.items()
    }
    return process(
        context,
        executable,
        name=text(context, "name"),
        parameters=[text(context, "params_file"), {**use_sim_time(context), **typed}],
        remappings=remappings,
    )


def cameras(context: LaunchContext, values: Mapping[str, Any], name: str) -> list[str]:
    """Give the names of the cameras of a node: those given, else those of the parameters file."""
    return values.get("cameras") or cameras_of_file(text(context, "params_file"), name, text(context, "namespace"))


def use_sim_time(context: LaunchContext) -> dict[str, bool]:
    """Give the parameter use_sim_time, by its name, where its argument is not empty."""
    return given_switch("use_sim_time", text(context, "use_sim_time"))


def rviz(context: LaunchContext, cameras: Sequence[str], segment: str) -> Node:
    """Start RViz if it is asked for; segment: the name of the node whose first camera is shown, and whose time it takes."""
    namespace = text(context, "namespace")
    sim_time = use_sim_time(context) or {
        "use_sim_time": sim_time_of_file(text(context, "params_file"), segment, namespace)
    }
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", text(context, "rviz_config")],
        parameters=[sim_time],
        remappings=rviz_remappings(cameras, text(context, "image"), namespace, segment),
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
