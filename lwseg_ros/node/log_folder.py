"""ROS writes a log file and does not start where it cannot, as in a systemd unit that has no HOME."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def arguments_without_log_folder(program: str = "segment") -> list[str]:
    """Return the ROS arguments that turn the log file off where there is no folder for it, else none; the console stays."""
    try:
        folder = _log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written")
    except OSError as error:
        print(f"{program}: no log file, only the console: {error}; ROS_LOG_DIR names another folder", file=sys.stderr)
        return ["--ros-args", "--disable-external-lib-logs"]
    return []


def _log_folder() -> Path:
    """Find the folder as ROS does; raises FileNotFoundError without a home folder."""
    home = os.environ.get("HOME", "")
    path = os.environ.get("ROS_LOG_DIR") or os.path.join(os.environ.get("ROS_HOME") or "~/.ros", "log")  # noqa: PTH118
    if path.startswith("~"):
        if not home:
            raise FileNotFoundError("the environment has neither HOME nor ROS_LOG_DIR")
        path = home + path[1:]
    return Path(path)
