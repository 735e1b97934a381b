"""Kinds of command-line values that several commands take."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

from lwseg_ros.model.model_file import resolve_model
from lwseg_ros.model.precisions import split_precision

MODEL_HELP = "model file or shipped model; MODEL:int8, MODEL:fp16 or MODEL:fp32 for one precision of it"


def positive_int(text: str) -> int:
    """Read a whole number of at least 1; argparse turns the error into wrong usage."""
    return _int_from(text, 1)


def natural_int(text: str) -> int:
    """Read a whole number of at least 0; argparse turns the error into wrong usage."""
    return _int_from(text, 0)


def positive_float(text: str) -> float:
    """Read a number above 0; argparse turns the error into wrong usage."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def node_model(text: str) -> tuple[Path, dict[str, str | int | float | bool]]:
    """Read `MODEL` or `MODEL:PRECISION` as a path and further parameters for the node; raises ModelFileError."""
    name, precision = split_precision(text)
    return resolve_model(name), {} if precision == "auto" else {"precision": precision}


def parse_size_hw(text: str) -> tuple[int, int]:
    """Read ``HEIGHTxWIDTH``, such as 512x1024, as (height, width); raises argparse.ArgumentTypeError that shows the form."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip().lower())
    if not match or 0 in (size := (int(match[1]), int(match[2]))):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH in pixels, such as 512x1024")
    return size


def stored_number(text: str) -> int:
    """Read a number that an 8-bit label may hold; argparse turns the error into wrong usage."""
    value = natural_int(text)
    if value > 255:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 255")
    return value


def milliseconds(text: str) -> float:
    """Read a time of at least 0 ms; argparse turns the error into wrong usage."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time in milliseconds, such as 5")
    return value


def _int_from(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value
