"""Topic names that ROS 2 allows: https://design.ros2.org/articles/topic_and_service_names.html"""

from __future__ import annotations

import re

MAX_CHARACTERS = 247  # what ROS 2 leaves of the 255 that DDS takes


def legal_topic(name: str) -> str:
    """Turn a recorded topic's name into one that can be published; one that is legal and absolute stays as it is.

    Every part of the name is changed by itself, so that camera_info stays beside its image.
    """
    parts = [re.sub(r"\W", "_", part, flags=re.ASCII) for part in name.split("/") if part]
    legal = "".join(f"/_{part}" if part[0].isdigit() else f"/{part}" for part in parts) or "/_"
    return legal[:MAX_CHARACTERS].rstrip("/")
