"""Watch the node on a recorded drive: plays a bag with its clock, starts the node and RViz.

`ros2 launch lwseg_ros replay.launch.py` plays the sample bag; for figures instead of images use `lwseg replay`.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, TimerAction
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription
from lwseg_ros.replay.sample import SAMPLE_BAG

SHARE = Path(get_package_share_directory("lwseg_ros"))

ARGUMENTS = [
    DeclareLaunchArgument("bag", default_value=str(SAMPLE_BAG), description="Folder of the bag."),
    DeclareLaunchArgument("image", default_value="/camera/image", description="Image topic in the bag."),
    DeclareLaunchArgument(
        "transport",
        default_value="compressed",
        choices=["raw", "compressed"],
        description="Whether the bag holds Image, or CompressedImage on <image>/compressed.",
    ),
    DeclareLaunchArgument("model", default_value="", description="Model file or shipped model; empty: the default."),
    DeclareLaunchArgument(
        "backend", default_value="", description="Inference runtime; empty: the best of this machine."
    ),
    DeclareLaunchArgument("rate", default_value="1.0", description="Factor on the recorded rate."),
    DeclareLaunchArgument("delay_s", default_value="3.0", description="Seconds to wait for the node before playing."),
    DeclareLaunchArgument(
        "loop", default_value="false", choices=["true", "false"], description="Play again and again."
    ),
    DeclareLaunchArgument("rviz", default_value="true", choices=["true", "false"], description="Show it in RViz."),
]


def player(*arguments: str, condition: IfCondition | UnlessCondition) -> ExecuteProcess:
    """Play the bag."""
    command = ["ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "--rate", LaunchConfiguration("rate")]
    return ExecuteProcess(cmd=[*command, *arguments], condition=condition, output="screen")


def generate_launch_description() -> LaunchDescription:
    """Describe the launch."""
    passed_on = ("image", "transport", "model", "backend", "rviz")
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "segment.launch.py")),
        launch_arguments=[*((name, LaunchConfiguration(name)) for name in passed_on), ("use_sim_time", "true")],
    )
    loop = LaunchConfiguration("loop")
    players = [player(condition=UnlessCondition(loop)), player("--loop", condition=IfCondition(loop))]
    return LaunchDescription([*ARGUMENTS, node, TimerAction(period=LaunchConfiguration("delay_s"), actions=players)])
