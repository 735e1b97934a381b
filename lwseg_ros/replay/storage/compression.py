"""zstd, as MCAP chunks, messages and whole files of a recording are compressed with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from lwseg_ros.errors import BagError
from lwseg_ros.replay.storage.base import MAX_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def unpack_zstd(data: bytes) -> bytes:
    """Decompress a zstd frame as far as it goes, at most MAX_BYTES of it; raises BagError."""
    try:
        return zstd.ZstdDecompressor().decompress(data, max_length=MAX_BYTES)
    except zstd.ZstdError as error:
        raise BagError(f"zstd cannot unpack it ({error})") from error


def unpack_message(head: bytes, read: Callable[[], bytes]) -> bytes:
    """Return a message's head as it is, or all of the message, read and decompressed, where it is compressed; raises BagError."""
    return unpack_zstd(read()) if head.startswith(ZSTD_MAGIC) else head


def open_zstd(path: Path) -> zstd.ZstdFile:
    """Open a compressed file for reading, which raises zstd.ZstdError, and EOFError where the file is cut off."""
    return zstd.open(path, "rb")
