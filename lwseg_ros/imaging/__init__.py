"""Pixels: messages, compressed streams, sizes, calibration, video and pictures. Knows no model and no ROS."""
