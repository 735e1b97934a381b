"""Lightweight semantic segmentation with calibrated uncertainty for ROS 2: the vehicle side."""

import os

# Official builds of ONNX Runtime report their use to Microsoft unless this is set before they are loaded; a vehicle tells nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
