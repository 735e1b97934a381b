"""Start the node `segment`: `ros2 launch lwseg_ros segment.launch.py image:=/camera/image_raw`.

`--show-args` lists the arguments. Every parameter of the node is one; those not given come from the parameters file.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from lwseg_ros.node.launch_arguments import cameras_of_file, parameter_values, remappings, switch
from lwseg_ros.node.parameters import PARAMETERS

SHARE = Path(get_package_share_directory("lwseg_ros"))

ARGUMENTS = [
    DeclareLaunchArgument(
        "image",
        default_value="",
        description="Image topic, without /compressed; with cameras:=front,left one such as /sensing/{camera}/image_raw.",
    ),
    DeclareLaunchArgument(
        "camera_info", default_value="", description="CameraInfo topic; empty: the image's neighbour."
    ),
    DeclareLaunchArgument("name", default_value="segment", description="Name of the node."),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "segment.params.yaml"),
        description="Parameters file; arguments given here come before it.",
    ),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
    DeclareLaunchArgument("log_level", default_value="info", description="Log level of the node."),
    DeclareLaunchArgument(
        "respawn", default_value="false", choices=["true", "false"], description="Start the node again when it ends."
    ),
    DeclareLaunchArgument(
        "fastdds_builtin_transports",
        # Not LARGE_DATA by default: a node with it finds no publisher without it.
        default_value=EnvironmentVariable("FASTDDS_BUILTIN_TRANSPORTS", default_value=""),
        description="Transports of Fast DDS, such as LARGE_DATA here and at the publisher; docs/middleware.md tells more.",
    ),
    DeclareLaunchArgument(
        "rviz", default_value="false", choices=["true", "false"], description="Show the results in RViz."
    ),
    DeclareLaunchArgument(
        "rviz_config", default_value=str(SHARE / "config" / "lwseg.rviz"), description="Configuration of RViz."
    ),
    *(
        DeclareLaunchArgument(
            name, default_value="", description=f"{parameter.description} Accepted: {parameter.accepted}."
        )
        for name, parameter in PARAMETERS.items()
    ),
]


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into the node."""

    def text(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    parameters = parameter_values({name: text(name) for name in PARAMETERS})
    # A text such as "1" would otherwise be read as a number.
    typed = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    use_sim_time = switch("use_sim_time", text("use_sim_time"))
    transports = text("fastdds_builtin_transports")
    cameras = parameters.get("cameras") or cameras_of_file(text("params_file"), text("name"), text("namespace"))
    node = Node(
        package="lwseg_ros",
        executable="segment",
        name=text("name"),
        namespace=text("namespace"),
        parameters=[text("params_file"), {"use_sim_time": use_sim_time, **typed}],
        remappings=remappings(cameras, text("image"), text("camera_info")),
        additional_env={"FASTDDS_BUILTIN_TRANSPORTS": transports} if transports else {},
        arguments=["--ros-args", "--log-level", text("log_level")],
        respawn=text("respawn") == "true",
        respawn_delay=2.0,
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", text("rviz_config")],
        parameters=[{"use_sim_time": use_sim_time}],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [node, rviz]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node)])
