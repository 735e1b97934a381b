"""Lightweight semantic segmentation with calibrated uncertainty for ROS 2: the vehicle side."""

__version__ = "0.1.0"
