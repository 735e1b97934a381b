"""Start the node `segment`: `ros2 launch lwseg_ros segment.launch.py image:=/camera/image_raw`.

`--show-args` lists the arguments. Every parameter of the node is one; those not given come from the parameters file.
"""

from launch.actions import OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity

from lwseg_ros.node import launch_parts as parts
from lwseg_ros.node.launch_arguments import remappings
from lwseg_ros.node.launch_parts import text
from lwseg_ros.node.parameters import PARAMETERS

ARGUMENTS = [
    *parts.camera_arguments(),
    *parts.process_arguments("segment.params.yaml"),
    *parts.node_arguments("segment", PARAMETERS),
    *parts.rviz_arguments(),
]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into the node."""
    values = parts.given_parameters(context, PARAMETERS)
    cameras = parts.cameras(context, values, text(context, "name"))
    topics = remappings(cameras, text(context, "image"), text(context, "camera_info"))
    return [
        parts.node(context, "segment", values, topics),
        parts.rviz(context, cameras, segment=text(context, "name")),
    ]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
