"""Image sizes as people write them."""

from __future__ import annotations

import argparse
import re


def parse_size_hw(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``, such as 512x1024, as (height, width); raises argparse.ArgumentTypeError that shows the form."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if not match or 0 in (size := (int(match[1]), int(match[2]))):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 512x1024")
    return size
