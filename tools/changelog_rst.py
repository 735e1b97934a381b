"""Write CHANGELOG.rst, which bloom reads, from CHANGELOG.md, which people do: `python tools/changelog_rst.py`.

The form is that of catkin packages (REP 132): a heading `VERSION (DATE)`, or `Forthcoming`, and below it lists.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TITLE = "Changelog for package lwseg_ros"
CODE = re.compile(r"(`[^`]+`)")
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")  # a Debian changelog has none
MARKUP = re.compile(r"([\\*_|])")


def as_rst(markdown: str) -> str:
    """Convert headings `## VERSION (DATE)`, lists, code, links and paragraphs; nothing else is expected."""
    lines = ["^" * len(TITLE), TITLE, "^" * len(TITLE)]
    for line in markdown.splitlines()[1:]:
        if line.startswith("## "):
            heading = "Forthcoming" if line.endswith("(unreleased)") else line[3:]
            lines += [heading, "-" * len(heading)]
        else:
            bullet = "* " if line.startswith("- ") else ""
            lines.append(bullet + _inline(line.removeprefix("- ") if bullet else line))
    return "\n".join(lines) + "\n"


def _inline(text: str) -> str:
    """Double the marks of code and escape what would be markup outside of it."""
    parts = CODE.split(LINK.sub(r"\1", text))
    return "".join(f"`{part}`" if CODE.fullmatch(part) else MARKUP.sub(r"\\\1", part) for part in parts)


if __name__ == "__main__":
    (ROOT / "CHANGELOG.rst").write_text(as_rst((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")), encoding="utf-8")
