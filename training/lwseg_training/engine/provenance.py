"""Which source made a model."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

PACKAGES = ("training", "lwseg_ros")


@functools.cache
def source_commit() -> str:
    """Return the commit of this source tree, with `-dirty` behind it where files of the packages differ from it.

    `unknown` outside a checkout, an installation that merely lies in somebody else's checkout included.
    """
    return commit_of(Path(__file__).parents[3])


def commit_of(root: Path) -> str:
    """Return the commit of the checkout whose root holds PACKAGES; see `source_commit`."""
    try:
        if not _git(root, "ls-files", *PACKAGES):
            return "unknown"
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        differs = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *PACKAGES)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if differs else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
