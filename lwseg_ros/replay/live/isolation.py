"""How a replay's processes talk: Fast DDS through shared memory and the loopback interface, and by no other way.

Fast DDS's own LARGE_DATA transports carry large images too, but they are not confined to the machine, and where it is busy,
three starts in a hundred leave two processes that never learn of each other's topics (7 of 230; this way 0 of 200).
"""

from __future__ import annotations

import shutil
from pathlib import Path

# Of each process. What does not fit goes through the loopback interface in pieces, and is lost when it comes in bursts.
SEGMENT_IMAGES = 4
MIN_SEGMENT_BYTES = 16 << 20
MAX_SEGMENT_SHARE = 0.125  # of the free shared memory
SHARED_MEMORY = Path("/dev/shm")

_PROFILES = """<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>loopback</transport_id>
      <type>UDPv4</type>
      <interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>
    </transport_descriptor>
    <transport_descriptor>
      <transport_id>shared_memory</transport_id>
      <type>SHM</type>
      <segment_size>{segment_bytes}</segment_size>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="lwseg_replay" is_default_profile="true">
    <rtps>
      <userTransports>
        <transport_id>shared_memory</transport_id>
        <transport_id>loopback</transport_id>
      </userTransports>
      <useBuiltinTransports>false</useBuiltinTransports>
    </rtps>
  </participant>
</profiles>
"""


def write_profiles(path: Path, image_bytes: int) -> None:
    """Write the XML profiles for Fast DDS, with room for images of so many bytes in the segment that each process gets."""
    segment_bytes = max(MIN_SEGMENT_BYTES, SEGMENT_IMAGES * image_bytes)
    if SHARED_MEMORY.is_dir():  # a container may have little of it
        segment_bytes = min(segment_bytes, int(MAX_SEGMENT_SHARE * shutil.disk_usage(SHARED_MEMORY).free))
    path.write_text(_PROFILES.format(segment_bytes=segment_bytes), encoding="utf-8")
