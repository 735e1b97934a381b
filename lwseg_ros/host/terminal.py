"""Text for terminals and XML: names from files of others may hold characters that move a cursor or forge a line."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

# C0 but the tab, DEL and C1, ends of lines and changes of direction of Unicode, and what no file in UTF-8 or XML 1.0 (2.2) may
# hold. A surrogate stands for a byte of a file's name that is no UTF-8, and would be printed as that byte.
_CONTROL = re.compile("[\0-\x08\n-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def visible(text: str) -> str:
    """Write control characters as Python's repr does, such as ``\\x1b``; all others, a backslash too, stay as they are."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def say(text: object, file: TextIO | None = None) -> None:
    """Print lines of text, with control characters made visible; file: standard output, where it is None."""
    print("\n".join(map(visible, str(text).split("\n"))), file=file)


def stop_printing() -> None:
    """Let standard output end quietly where nobody reads it any more, the interpreter's own flush at its end too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
