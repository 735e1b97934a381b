"""The hosted CI and the pre-commit hooks do what the Makefile does, with the same versions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("job", ["check", "test", "test-jazzy"])
def test_a_job_runs_one_target_on_the_oldest_and_the_newest_python(job: str) -> None:
    jobs = load(".github/workflows/ci.yml")["jobs"]
    assert set(jobs) == {"check", "test", "test-jazzy"}
    assert [step["run"] for step in jobs[job]["steps"] if "run" in step] == [f"make {job}"]
    assert re.search(rf"^{job}:", MAKEFILE, flags=re.MULTILINE)
    pythons = jobs[job]["strategy"]["matrix"]["python"]
    assert pythons == ["3.10", "3.12"]
    assert "(3, 10) <= sys.version_info[:2] <= (3, 12)" in MAKEFILE


def test_cached_packages_follow_files_that_exist() -> None:
    for job in load(".github/workflows/ci.yml")["jobs"].values():
        (setup,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
        names = setup["cache-dependency-path"].split()
        assert names
        assert all((ROOT / name).is_file() for name in names)


def test_hooks_are_lines_of_make_check() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.MULTILINE)
    assert recipe
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    ruff, local = load(".pre-commit-config.yaml")["repos"]
    assert ruff["repo"] == "https://github.com/astral-sh/ruff-pre-commit"
    assert f"\nruff=={ruff['rev'].removeprefix('v')}\n" in CONSTRAINTS
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    assert [hook["entry"].removeprefix("env ") for hook in local["hooks"]] == [
        line for line in lines if "mypy" in line or "lint-imports" in line
    ]
