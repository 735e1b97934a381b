"""Room for images between processes: profiles that give Fast DDS's shared memory more than its 512 kB.

Each process sends through a segment of its own. An image that does not fit goes out by UDP in pieces, of which some are lost;
the size of the segment can be set in an XML profile and nowhere else.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

# Where Fast DDS finds its profiles; its versions until ROS 2 Jazzy know the second variable only.
PROFILES_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
MAX_SEGMENT_SHARE = 0.125  # of the free shared memory: a segment is allocated whole when a process starts
SHARED_MEMORY = Path("/dev/shm")

_PROFILES = """<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>shared_memory</transport_id>
      <type>SHM</type>
      <segment_size>{segment_bytes}</segment_size>
    </transport_descriptor>
    <transport_descriptor>
      <transport_id>udp</transport_id>
      <type>UDPv4</type>{interfaces}
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="images" is_default_profile="true">
    <rtps>
      <userTransports>
        <transport_id>shared_memory</transport_id>
        <transport_id>udp</transport_id>
      </userTransports>
      <useBuiltinTransports>false</useBuiltinTransports>
    </rtps>
  </participant>
</profiles>
"""


def fastdds_profiles(segment_bytes: int, *, interfaces: Sequence[str] = ()) -> str:
    """Give XML profiles with Fast DDS's default transports and a shared-memory segment of so many bytes.

    interfaces: the only IP addresses of this machine that UDP may use; none for all of them.
    """
    addresses = "".join(f"<address>{address}</address>" for address in interfaces)
    allowed = f"\n      <interfaceWhiteList>{addresses}</interfaceWhiteList>" if addresses else ""
    return _PROFILES.format(segment_bytes=segment_bytes, interfaces=allowed)


def affordable_segment_bytes(wanted_bytes: int) -> int:
    """Give the size of a segment as wanted, or what shared memory has room for; a container may have little of it."""
    if not SHARED_MEMORY.is_dir():
        return wanted_bytes
    return min(wanted_bytes, int(MAX_SEGMENT_SHARE * shutil.disk_usage(SHARED_MEMORY).free))
