"""Start the nodes `segment` and `paint` in one process, between which labels are no messages.

`ros2 launch lwseg_ros segment_and_paint.launch.py image:=/camera/image_raw points:=/lidar/points`

`--show-args` lists the arguments. Parameters of the nodes are those of the parameters file, one for both.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_entity import LaunchDescriptionEntity

from lwseg_ros.node import launch_parts as parts
from lwseg_ros.node.launch_arguments import segment_and_paint_arguments
from lwseg_ros.node.launch_parts import text
from lwseg_ros.node.parameters import PARAMETERS

ARGUMENTS = [
    *parts.camera_arguments(),
    DeclareLaunchArgument("points", default_value="", description="PointCloud2 topic of the lidar."),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of both nodes' cameras: front,left. Empty: those of params_file.",
    ),
    *parts.process_arguments("vehicle.params.yaml"),
    *parts.rviz_arguments(),
]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turn the arguments into the process of both nodes."""
    given = parts.given_parameters(context, {"cameras": PARAMETERS["cameras"]})
    cameras = parts.cameras(context, given, "segment")
    topics = (text(context, name) for name in ("image", "camera_info", "points"))
    both = {**parts.use_sim_time(context), **given}
    return [
        parts.process(
            context,
            "segment_and_paint",
            arguments=segment_and_paint_arguments(cameras, *topics, both),
            parameters=[text(context, "params_file")],
        ),
        parts.rviz(context, cameras, segment="segment"),
    ]


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
