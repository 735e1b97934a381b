"""What is logged by Python's `logging`, as the runtimes' modules do, in the node's ROS log too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class RosLogHandler(logging.Handler):
    """Hand records to an rclpy logger, at their own severity and under the name of who logged them; from any thread.

    rclpy itself does not use `logging`, so that nothing comes back. After `rclpy.shutdown` its loggers still write to the console.
    """

    def __init__(self, ros_logger: Any) -> None:
        """Take the node's logger: only under a node's own name a message is published to /rosout."""
        super().__init__()
        self._ros_logger = ros_logger
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; what goes wrong is left to `logging.raiseExceptions`, as in every handler."""
        try:
            text = self.format(record)
            # A line for each: rclpy remembers a severity for every line that it is called from, and raises for another.
            if record.levelno >= logging.CRITICAL:
                self._ros_logger.fatal(text)
            elif record.levelno >= logging.ERROR:
                self._ros_logger.error(text)
            elif record.levelno >= logging.WARNING:
                self._ros_logger.warning(text)
            elif record.levelno >= logging.INFO:
                self._ros_logger.info(text)
            else:
                self._ros_logger.debug(text)
        except Exception:
            self.handleError(record)


@contextmanager
def log_records_in_ros(ros_logger: Any) -> Iterator[None]:
    """Within the block hand every record that reaches the root logger, warnings and worse by default, to an rclpy logger."""
    handler = RosLogHandler(ros_logger)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
