"""A table goes between two comments of a Markdown file, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from lwseg_training.experiments.table.marked_section import MarkerError, replace_section, write_section

BEGIN, END = "<!-- table: written by\nlwseg table -->", "<!-- /table -->"


@pytest.mark.parametrize("old", ["", "\n", "\n| an | old |\n| table |\n\nand notes\n"])
def test_only_what_is_between_changes_and_twice_is_once(old: str) -> None:
    text = f"# Title\n\nbefore\n{BEGIN}{old}{END}  \n\nafter <!-- a comment -->"
    once = replace_section(text, "| new |\n")
    assert once == f"# Title\n\nbefore\n{BEGIN}\n| new |\n{END}  \n\nafter <!-- a comment -->"
    assert replace_section(once, "| new |\n") == once


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(b"a\r\n<!-- table: -->\r\n<!-- /table -->\r\nb")
    write_section(path, "| x |\n| y |\n")
    assert path.read_bytes() == b"a\r\n<!-- table: -->\r\n| x |\r\n| y |\r\n<!-- /table -->\r\nb"


def test_a_file_that_says_so_already_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"a\n{BEGIN}{END}\n")
    write_section(path, "| x |")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_section(path, "| x |")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no comments", r"\(0 found\) and after it `<!-- /table -->` once \(0 found\); put both"),
        (f"{BEGIN} only", r"\(1 found\) and after it .* \(0 found\)"),
        (f"only {END}", r"\(0 found\) and after it .* \(1 found\)"),
        (f"{BEGIN}{BEGIN}{END}", r"\(2 found\)"),
        (f"{END}{BEGIN}", "after it"),
    ],
)
def test_a_file_without_the_comments_is_refused_and_kept(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(MarkerError, match=rf"README\.md needs .*{message}"):
        write_section(path, "| x |")
    assert path.read_text() == text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MarkerError, match=r"cannot read .*nowhere\.md"):
        write_section(tmp_path / "nowhere.md", "| x |")
