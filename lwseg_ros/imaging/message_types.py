"""Message classes by name, of packages that may not be installed."""

from __future__ import annotations

import importlib
from typing import Any


def find_message_type(*msgtypes: str) -> Any:
    """Import the first message class that is installed, by names such as `sensor_msgs/msg/Image`; None where none is."""
    for msgtype in msgtypes:
        package, _, name = msgtype.partition("/msg/")
        try:
            return getattr(importlib.import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):  # a package of another version may lack the message
            continue
    return None


def load_message_type(*msgtypes: str) -> Any:
    """Import like `find_message_type`; raises ModuleNotFoundError where none is installed."""
    found = find_message_type(*msgtypes)
    if found is None:
        raise ModuleNotFoundError(f"none of these message types is installed: {', '.join(msgtypes)}")
    return found
