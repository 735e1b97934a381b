"""The commit that a checkpoint names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from lwseg_training.engine.provenance import commit_of

AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *AUTHOR, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the two packages and a page of documentation, all committed."""
    for name in ("training/trainer.py", "lwseg_ros/datasets.py", "docs/page.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("first\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "First")
    return tmp_path


def test_a_clean_checkout_gives_its_commit(checkout: Path) -> None:
    assert re.fullmatch("[0-9a-f]{12}", commit_of(checkout))


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("training/trainer.py", True),
        ("lwseg_ros/datasets.py", True),
        ("docs/page.md", False),
    ],
)
def test_changes_of_what_makes_a_model_are_marked(name: str, dirty: bool, checkout: Path) -> None:
    commit = commit_of(checkout)
    (checkout / name).write_text("second\n")
    assert commit_of(checkout) == (f"{commit}-dirty" if dirty else commit)


def test_outside_a_checkout_it_is_unknown(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == "unknown"


def test_an_installation_inside_another_checkout_does_not_take_its_commit(checkout: Path) -> None:
    (checkout / ".gitignore").write_text(".venv/\n")
    site = checkout / ".venv" / "site-packages"
    (site / "training").mkdir(parents=True)
    (site / "training" / "provenance.py").write_text("")
    assert commit_of(site) == "unknown"
