"""The node `segment`: the ROS 2 edge and the worker behind it."""
