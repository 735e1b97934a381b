"""Start the node `paint`: `ros2 launch lwseg_ros paint.launch.py points:=/lidar/points segment:=/segment`.

`--show-args` lists the arguments. Every parameter of the node is one; those not given come from the parameters file.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity

from lwseg_ros.node import launch_parts as parts
from lwseg_ros.node.launch_arguments import paint_remappings
from lwseg_ros.node.launch_parts import text
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS

ARGUMENTS = [
    DeclareLaunchArgument("points", default_value="", description="PointCloud2 topic of the lidar."),
    DeclareLaunchArgument(
        "segment", default_value="/segment", description="Name of the node segment, with its namespace."
    ),
    *parts.process_arguments("paint.params.yaml"),
    *parts.node_arguments("paint", PAINT_PARAMETERS),
]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into the node."""
    values = parts.given_parameters(context, PAINT_PARAMETERS)
    cameras = parts.cameras(context, values, text(context, "name"))
    topics = paint_remappings(cameras, text(context, "points"), text(context, "segment"))
    return [parts.node(context, "paint", values, topics)]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
