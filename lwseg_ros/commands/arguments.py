"""Kinds of command-line values that several commands take."""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """Read a whole number of at least 1; argparse turns the error into wrong usage."""
    return _int_from(text, 1)


def natural_int(text: str) -> int:
    """Read a whole number of at least 0; argparse turns the error into wrong usage."""
    return _int_from(text, 0)


def _int_from(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value
