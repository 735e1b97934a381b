"""Tables of a Markdown page that benchmarks write, each between two comments that stay where they are.

The first is `<!-- table: by python -m benchmarks.NAME -->`, the second the next `<!-- /table -->`.
"""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.errors import LwsegError
from lwseg_ros.host.files import write_atomically

END = "<!-- /table -->"


def check_place(page: Path, benchmark: str) -> None:
    """Raise LwsegError where a page has no place for a benchmark's table."""
    _split(page, benchmark)


def write_table(page: Path, benchmark: str, body: str) -> None:
    """Put a text into a benchmark's place, instead of what stands there; raises LwsegError where the page has none."""
    before, after = _split(page, benchmark)
    write_atomically(page, f"{before}\n{body.strip()}\n{after}".encode())


def _split(page: Path, benchmark: str) -> tuple[str, str]:
    """Return the page up to a place, and from it on, both with the comments."""
    begin = f"<!-- table: by python -m benchmarks.{benchmark} -->"
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LwsegError(f"cannot read {page}: {error}") from error
    before, found, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if text.count(begin) != 1 or not end:
        raise LwsegError(
            f"{page} needs `{begin}` once ({text.count(begin)} found) and `{END}` after it; put both, each on a line of its own, "
            "where the table is to stand"
        )
    return before + found, end + after
