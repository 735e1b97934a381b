"""Room in shared memory for what the node publishes, unless the user has decided how the middleware sends; and what Fast DDS
leaves there when processes are killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lwseg_ros.imaging.transport import (
    PROFILES_VARIABLES,
    SHARED_MEMORY,
    affordable_segment_bytes,
    fastdds_profiles,
)

FAST_DDS = "rmw_fastrtps"
# Labels, uncertainty, overlay and colours of a camera of 1920 x 1080 take 16 MB a frame.
SEGMENT_BYTES = 32 << 20
DEFAULT_SEGMENT_BYTES = 512 << 10  # what Fast DDS takes by itself
_SEGMENT = re.compile("fast(dds|rtps)_[0-9a-f]{16}")
# A process makes its segment and the lock beside it one after the other.
_NEW_S = 60.0
# By any of these the user decides: variables, and files in the working folder that Fast DDS reads.
_DECISIONS = (*PROFILES_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS2_EASY_MODE")
_DECIDING_FILES = ("DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml")


@contextlib.contextmanager
def room_for_images() -> Iterator[None]:
    """Give the Fast DDS of this process a larger segment of shared memory: what is created in the block sends through it.

    Does nothing where the user set profiles or transports, where another middleware runs, where shared memory has no more room
    than Fast DDS takes by itself, and where no file can be written.
    """
    segment_bytes = affordable_segment_bytes(SEGMENT_BYTES)
    if user_decision() or segment_bytes <= DEFAULT_SEGMENT_BYTES:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            # Without a buffer, whose rest would fail again at closing on a full disk.
            file = stack.enter_context(tempfile.NamedTemporaryFile(buffering=0, prefix="lwseg_ros_", suffix=".xml"))
            file.write(fastdds_profiles(segment_bytes).encode())
            for variable in _profiles_variables():
                os.environ[variable] = file.name
                stack.callback(os.environ.pop, variable, None)
        yield


def remove_abandoned_segments(folder: Path = SHARED_MEMORY) -> None:
    """Remove the segments of this user's processes that ended without doing so, as `fastdds shm clean` does.

    One that is restarted again and again would fill the memory otherwise. A segment's owner holds a lock on the file beside it
    as long as it lives, in whatever container; a reader of one whose owner has ended keeps what it has mapped.
    """
    with contextlib.suppress(OSError):
        for segment in [path for path in folder.iterdir() if _SEGMENT.fullmatch(path.name)]:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(segment)


def _remove_if_abandoned(segment: Path) -> None:
    """Remove a segment and its lock; raises OSError where somebody holds that, or where it is not ours to remove."""
    state = segment.lstat()
    if state.st_uid != os.getuid() or time.time() - state.st_mtime < _NEW_S:
        return
    lock = segment.with_name(f"{segment.name}_el")
    held = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # anybody may put anything there
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment.unlink()
        lock.unlink()
    finally:
        os.close(held)


def user_decision() -> str:
    """Name what the user decided by how the middleware sends: a variable, or a file in the working folder; empty for nothing."""
    if not os.environ.get("RMW_IMPLEMENTATION", FAST_DDS).startswith(FAST_DDS):
        return "RMW_IMPLEMENTATION"
    decisions = [name for name in _DECISIONS if os.environ.get(name)]
    return next(iter([*decisions, *(name for name in _DECIDING_FILES if Path(name).exists())]), "")


def _profiles_variables() -> tuple[str, ...]:
    """Name the variable that this distribution's Fast DDS reads; both where rclpy does not tell its version.

    Setting both makes the later ones warn of the earlier.
    """
    later, until_jazzy = PROFILES_VARIABLES
    try:
        major = int(importlib.metadata.version("rclpy").split(".")[0])
    except Exception:  # an overlay's metadata may be missing, empty or anything
        return PROFILES_VARIABLES
    return (later,) if major >= 9 else (until_jazzy,)
