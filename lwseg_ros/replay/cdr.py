"""The few bytes of a serialized message that replay reads or writes without decoding the rest."""

from __future__ import annotations

import struct

from lwseg_ros.errors import BagError

HEADER_BYTES = 12  # 4 of encapsulation, whose second byte tells the byte order, then int32 sec and uint32 nanosec


def _stamp_format(raw: bytes) -> str:
    if len(raw) < HEADER_BYTES:
        raise BagError(f"a message of {len(raw)} bytes is too short for a std_msgs/Header; the bag is corrupt")
    return "<iI" if raw[1] & 1 else ">iI"


def header_stamp_ns(raw: bytes) -> int:
    """Read the stamp, in nanoseconds, of a serialized message that begins with a std_msgs/Header; raises BagError."""
    sec, nanosec = struct.unpack_from(_stamp_format(raw), raw, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


def with_stamp_ns(raw: bytes, stamp_ns: int) -> bytes:
    """Copy a serialized message that begins with a std_msgs/Header, with another stamp in it; raises BagError."""
    stamp = struct.pack(_stamp_format(raw), *divmod(stamp_ns, 1_000_000_000))
    return raw[:4] + stamp + raw[HEADER_BYTES:]
