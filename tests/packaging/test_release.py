"""A release: one version everywhere, archives that hold every file, dependencies that a ROS distribution can resolve."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from distutils.core import run_setup  # setuptools' own, where Python has none
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from lwseg_ros import __version__
from lwseg_ros.cli import main

ROOT = Path(__file__).parents[2]
# What a package of ours imports is a ROS package of the same name, but for these.
ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "jinja2": "python3-jinja2",
    "numpy": "python3-numpy",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
FROM_PIP = {"backports", "google", "lz4", "onnx", "rosbags", "simplejpeg"}  # google: protobuf, which onnx brings
OPTIONAL = {"compression", "cv_bridge", "dask", "distributed", "onnxruntime", "openvino", "rerun", "scipy"}
# The launch command; tf2_ros, which is asked for by name; the services of lifecycle nodes.
NOT_IMPORTED = {"lifecycle_msgs", "ros2launch", "tf2_ros_py"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture
def distribution(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)
    return run_setup("setup.py", stop_after="init")


def test_one_version_everywhere(distribution: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    told = capsys.readouterr().out
    assert told == f"lwseg_ros {__version__}\n"
    assert distribution.get_version() == __version__
    assert f"<version>{__version__}</version>" in read("package.xml")
    training = read("training/pyproject.toml")
    assert f'\nversion = "{__version__}"\n' in training
    assert f'"lwseg_ros=={__version__}"' in training


def test_the_changelog_begins_with_this_version_and_goes_down() -> None:
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), flags=re.MULTILINE)
    versions: list[str] = []
    for heading in headings:
        match = re.fullmatch(r"(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)", heading)
        assert match, f"{heading!r} is not `VERSION (unreleased)` or `VERSION (YYYY-MM-DD)`"
        versions.append(match[1])
    assert versions[0] == __version__
    assert versions == sorted(set(versions), key=Version, reverse=True)
    assert not any("unreleased" in heading for heading in headings[1:])


def test_every_file_of_the_package_is_installed(distribution: Any) -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "lwseg_ros", "launch", "config", "resource"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip(f"{ROOT} is not a git checkout, so there is no telling which files belong to the package")
    known = {name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()}
    modules = {
        str(path.relative_to(ROOT))
        for package in distribution.packages
        for path in (ROOT / package.replace(".", "/")).glob("*.py")
    }
    data = {
        str(path.relative_to(ROOT))
        for pattern in distribution.package_data["lwseg_ros"]
        for path in (ROOT / "lwseg_ros").glob(pattern)
    }
    shared = {name for _, names in distribution.data_files for name in names}
    assert sorted(known - modules - data - shared) == []
    assert {"package.xml", "launch/segment.launch.py", "config/lwseg.rviz", "resource/lwseg_ros"} <= shared


def test_package_xml_names_what_is_imported() -> None:
    parse_package = pytest.importorskip(
        "catkin_pkg.package", reason="catkin_pkg is not installed: pip install lwseg_ros[colcon]"
    )
    package = parse_package.parse_package(ROOT / "package.xml")  # as bloom reads it
    imported = {
        name for folder in ("lwseg_ros", "launch") for path in (ROOT / folder).rglob("*.py") for name in imports(path)
    }
    imported -= {*sys.stdlib_module_names, "lwseg_ros", *FROM_PIP, *OPTIONAL}
    needed = {ROSDEP_KEYS.get(name, name) for name in imported} | NOT_IMPORTED
    assert {dependency.name for dependency in package.exec_depends} == needed


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names
