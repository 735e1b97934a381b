"""A copy of both packages with the files that CONTRIBUTING.md shows, as a contributor would add them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def add_shown_file(tree: Path, name: str) -> None:
    """Copy the packages into an empty folder and add the file whose code block begins with its name."""
    for package in ("lwseg_ros", "training/lwseg_training"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    (code,) = re.findall(rf"```python\n# {re.escape(name)}\n(.*?)```", GUIDE, flags=re.DOTALL)
    (tree / name).write_text(code, encoding="utf-8")


def run_in(tree: Path, *arguments: str) -> str:
    """Run Python with the copy's packages, and return what it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(tree / "training")])}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
