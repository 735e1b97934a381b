"""Painting lidar points with the labels of camera images. Knows numpy and the fields of messages, not ROS."""
