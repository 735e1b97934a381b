"""The part of a Markdown file that a command writes, between two comments that stay where they are."""

from __future__ import annotations

import re
from pathlib import Path

from lwseg_ros.errors import LwsegError
from lwseg_ros.host.files import write_atomically

BEGIN = re.compile(r"<!-- table:.*?-->", re.DOTALL)
END = "<!-- /table -->"


class MarkerError(LwsegError):
    """A file does not hold the two comments between which a table is to be written."""


def replace_section(text: str, body: str) -> str:
    """Return a Markdown text with ``body`` between the comments `<!-- table: ... -->` and `<!-- /table -->`.

    Everything else, the comments included, stays as it is. Raises MarkerError unless the text holds each comment once, in
    this order.
    """
    begins = list(BEGIN.finditer(text))
    if len(begins) != 1 or text.count(END) != 1 or text.index(END) < begins[0].end():
        raise MarkerError(
            f"needs `<!-- table: ... -->` once ({len(begins)} found) and after it `{END}` once "
            f"({text.count(END)} found); put both, each on a line of its own, where the table is to stand"
        )
    newline = "\r\n" if "\r\n" in text else "\n"
    inside = newline.join(["", *body.strip().splitlines(), ""])
    return text[: begins[0].end()] + inside + text[text.index(END) :]


def read_markdown(path: Path) -> str:
    """Read a Markdown file with its line ends as they are; raises MarkerError where it cannot take a table."""
    try:
        text = path.read_bytes().decode("utf-8")
        replace_section(text, "")
    except (OSError, UnicodeDecodeError) as error:
        raise MarkerError(f"cannot read {path}: {error}") from error
    except MarkerError as error:
        raise MarkerError(f"{path} {error}") from error
    return text


def write_section(path: Path, body: str) -> None:
    """Put ``body`` between the comments of a Markdown file; a file that already says so is not touched."""
    text = read_markdown(path)
    changed = replace_section(text, body)
    if changed != text:
        write_atomically(path, changed.encode())
