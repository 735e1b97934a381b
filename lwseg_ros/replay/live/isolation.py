"""How a replay's processes talk: Fast DDS through shared memory and the loopback interface, and by no other way.

Fast DDS's own LARGE_DATA transports carry large images too, but they are not confined to the machine, and where it is busy,
three starts in a hundred leave two processes that never learn of each other's topics (7 of 230; this way 0 of 200).
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.imaging.transport import affordable_segment_bytes, fastdds_profiles

# Of each process. What does not fit goes through the loopback interface in pieces, and is lost when it comes in bursts.
SEGMENT_IMAGES = 4
MIN_SEGMENT_BYTES = 16 << 20


def write_profiles(path: Path, image_bytes: int) -> None:
    """Write the XML profiles for Fast DDS, with room for images of so many bytes in the segment that each process gets."""
    segment_bytes = affordable_segment_bytes(max(MIN_SEGMENT_BYTES, SEGMENT_IMAGES * image_bytes))
    path.write_text(fastdds_profiles(segment_bytes, interfaces=["127.0.0.1"]), encoding="utf-8")
