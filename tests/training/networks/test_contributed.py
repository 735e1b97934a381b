"""The network that CONTRIBUTING.md shows: one file, and the suites over all networks find nothing to complain of."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.contributed import ROOT, add_shown_file, run_in

SUITES = [
    "tests/training/networks/test_networks.py",
    "tests/training/losses/test_logit_adjustment.py",
    "tests/training/optim/test_optimizer.py",
]


def test_the_network_is_found_listed_and_keeps_the_contract(tmp_path: Path) -> None:
    add_shown_file(tmp_path, "training/lwseg_training/networks/toy.py")
    listed = run_in(tmp_path, "-m", "lwseg_ros.cli", "networks", "--size", "64x96", "--classes", "5")
    assert any(line.split()[:1] == ["toy"] for line in listed.splitlines())
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    tested = run_in(tmp_path, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "toy", *SUITES)
    assert all(f"{suite}::" in tested for suite in SUITES), tested
