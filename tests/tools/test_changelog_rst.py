"""The changelog as bloom reads it: each entry under its version, none lost, code and underscores as they were."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

changelog = pytest.importorskip(
    "catkin_pkg.changelog", reason="catkin_pkg is not installed: pip install lwseg_ros[colcon]"
)

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("changelog_rst", ROOT / "tools" / "changelog_rst.py")
assert SPEC is not None
assert SPEC.loader is not None
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

SMALL = """# Changelog

## 0.2.0 (unreleased)

- Not yet.

## 0.1.0 (2026-11-26)

- `lwseg x` reads camera_info, and a * b; see
  [docs/x.md](docs/x.md).

Changed:

- `a` is `b_`.
"""


def read(text: str) -> list[tuple[str, str]]:
    found = changelog.Changelog("lwseg_ros")
    changelog.populate_changelog_from_rst(found, tool.as_rst(text))
    return [(version, "\n".join(str(entry) for entry in entries)) for version, _, entries in found.foreach_version()]


def test_entries_stand_under_their_version() -> None:
    ((version, entries),) = [item for item in read(SMALL) if item[0] != "Forthcoming"]
    assert version == "0.1.0"
    for text in ("lwseg x", "camera_info, and a * b; see", "docs/x.md.", "b_"):
        assert text in entries
    assert "Not yet" not in entries


def test_no_entry_of_the_changelog_is_lost() -> None:
    markdown = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("(unreleased)", "(2026-11-26)")
    entries = "\n".join(text for _, text in read(markdown)).splitlines()
    count = sum(line.startswith("- ") for line in markdown.splitlines())
    assert count > 50
    assert sum(line.startswith("* ") for line in entries) == count
