"""The versions that `make setup` pins exist for every Python that the README promises."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
LINES = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]
PINS = [Requirement(line) for line in LINES if line]


def pins_for(python: str) -> list[Requirement]:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    return [pin for pin in PINS if pin.marker is None or pin.marker.evaluate(environment)]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_each_package_is_pinned_once_and_to_a_version_that_runs_there(python: str) -> None:
    pins = pins_for(python)
    assert len({pin.name for pin in pins}) == len(pins)
    assert {pin.name for pin in pins} == {pin.name for pin in PINS}
    refused = []
    for pin in pins:
        try:
            installed = metadata(pin.name)
        except PackageNotFoundError:  # an extra that was not asked for
            continue
        # Only what is installed tells offline which Pythons it takes.
        if installed["Version"] in pin.specifier and f"{python}.0" not in SpecifierSet(
            installed.get("Requires-Python", "")
        ):
            refused.append(f"{pin} takes Python {installed.get('Requires-Python')}")
    assert refused == []
