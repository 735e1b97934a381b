"""What this machine computes with: the conditions that figures depend on."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from lwseg_ros import __version__

LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "onnx",
    "rosbags",
    "ros-rclpy",
    "openvino",
    "onnxruntime",
    "tensorrt-rtx-cu13",
)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """Return the processor's name, or its architecture where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def machine() -> dict[str, Any]:
    """Describe what figures were measured on: processor, cores, system, python, lwseg_ros."""
    return {
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "lwseg_ros": __version__,
    }


def library_versions() -> dict[str, str]:
    """List the versions of the libraries that take part, those that are installed."""
    versions = {}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
