"""Start the node `paint`: `ros2 launch lwseg_ros paint.launch.py points:=/lidar/points segment:=/segment`.

`--show-args` lists the arguments. Every parameter of the node is one; those not given come from the parameters file.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from lwseg_ros.node.launch_arguments import cameras_of_file, paint_remappings, parameter_values, switch
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS

SHARE = Path(get_package_share_directory("lwseg_ros"))

ARGUMENTS = [
    DeclareLaunchArgument("points", default_value="", description="PointCloud2 topic of the lidar."),
    DeclareLaunchArgument(
        "segment", default_value="/segment", description="Name of the node segment, with its namespace."
    ),
    DeclareLaunchArgument("name", default_value="paint", description="Name of the node."),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "paint.params.yaml"),
        description="Parameters file; arguments given here come before it.",
    ),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
    DeclareLaunchArgument("log_level", default_value="info", description="Log level of the node."),
    DeclareLaunchArgument(
        "respawn", default_value="false", choices=["true", "false"], description="Start the node again when it ends."
    ),
    *(
        DeclareLaunchArgument(
            name, default_value="", description=f"{parameter.description} Accepted: {parameter.accepted}."
        )
        for name, parameter in PAINT_PARAMETERS.items()
    ),
]


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into the node."""

    def text(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    parameters = parameter_values({name: text(name) for name in PAINT_PARAMETERS}, PAINT_PARAMETERS)
    # A text such as "1" would otherwise be read as a number.
    typed = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }
    use_sim_time = switch("use_sim_time", text("use_sim_time"))
    cameras = parameters.get("cameras") or cameras_of_file(text("params_file"), text("name"), text("namespace"))
    node = Node(
        package="lwseg_ros",
        executable="paint",
        name=text("name"),
        namespace=text("namespace"),
        parameters=[text("params_file"), {"use_sim_time": use_sim_time, **typed}],
        remappings=paint_remappings(cameras, text("points"), text("segment")),
        arguments=["--ros-args", "--log-level", text("log_level")],
        respawn=text("respawn") == "true",
        respawn_delay=2.0,
        output="screen",
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_node)])
