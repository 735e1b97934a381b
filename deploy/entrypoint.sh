#!/bin/bash
# Run a command with ROS 2 and the package sourced.
set -e
source /opt/ros/jazzy/setup.bash
source /opt/lwseg/install/setup.bash
exec "$@"
