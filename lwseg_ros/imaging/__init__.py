"""Pixels: messages, compressed streams, sizes, calibration, video and drawing. Knows no model and no ROS."""
