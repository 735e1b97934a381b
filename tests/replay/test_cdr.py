"""Stamps in serialized messages, in both byte orders."""

from __future__ import annotations

import numpy as np
import pytest
from support.bag_files import IMAGE, TYPESTORE, image_message

from lwseg_ros.errors import BagError
from lwseg_ros.replay.cdr import header_stamp_ns, with_stamp_ns


@pytest.mark.parametrize("little_endian", [True, False])
def test_the_stamp_is_read_and_replaced_and_nothing_else(little_endian: bool) -> None:
    message = image_message(np.arange(12, dtype=np.uint8).reshape(3, 4), 3_000_000_007)
    raw = bytes(TYPESTORE.serialize_cdr(message, IMAGE, little_endian=little_endian))
    assert header_stamp_ns(raw) == 3_000_000_007
    moved = with_stamp_ns(raw, 1_700_000_000_999_999_999)
    assert header_stamp_ns(moved) == 1_700_000_000_999_999_999
    assert with_stamp_ns(moved, 3_000_000_007) == raw
    assert TYPESTORE.deserialize_cdr(moved, IMAGE).header.stamp.nanosec == 999_999_999


def test_short_messages_are_refused() -> None:
    with pytest.raises(BagError, match="11 bytes is too short"):
        header_stamp_ns(b"\0\1" + bytes(9))
    with pytest.raises(BagError, match="0 bytes is too short"):
        with_stamp_ns(b"", 1)
