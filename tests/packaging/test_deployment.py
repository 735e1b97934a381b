"""The service and the container start what there is, from files that exist, with what the node promises of its exits."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser, SectionProxy
from pathlib import Path

import pytest

from lwseg_ros.node.parameters import PARAMETERS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


@pytest.fixture
def service() -> SectionProxy:
    unit = ConfigParser(strict=False, interpolation=None)  # a key may be there several times
    unit.read(DEPLOY / "lwseg-segment.service")
    return unit["Service"]


def command(service: SectionProxy) -> list[str]:
    """What the shell of the service does, in words."""
    shell, flag, script = shlex.split(service["ExecStart"])
    assert (shell, flag) == ("/bin/bash", "-c")
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    return script.split()


def test_the_service_runs_the_node_itself_so_that_its_exit_code_is_seen(service: SectionProxy) -> None:
    words = command(service)
    assert words[words.index("exec") + 1 :][:3] == ["python3", "-m", "lwseg_ros.node"]
    assert (ROOT / "lwseg_ros" / "node" / "__main__.py").is_file()
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2"
    assert int(service["TimeoutStopSec"]) > 5, "the node may take 5 s to end"


def test_where_systemd_is_it_finds_nothing_wrong_with_the_service(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # Its user, and a shell elsewhere, are not this machine's.
    done = subprocess.run(
        ["systemd-analyze", "verify", DEPLOY / "lwseg-segment.service"], capture_output=True, text=True, check=False
    )
    assert not re.findall(r"Unknown|Failed to parse|Invalid|ignoring", done.stderr), done.stderr


def test_the_container_copies_what_exists_and_runs_the_node() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    # What setup.py reads and installs is among it.
    assert {"setup.py", "setup.cfg", "package.xml", "README.md", "resource", "launch", "config", "lwseg_ros"} <= set(
        copied
    )
    assert 'CMD ["python3", "-m", "lwseg_ros.node"]' in lines
    entrypoint = DEPLOY / "entrypoint.sh"
    assert entrypoint.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", entrypoint], check=False).returncode == 0


def test_the_container_has_the_ros_packages_of_package_xml() -> None:
    keys = re.findall(r"<exec_depend>(.+)</exec_depend>", (ROOT / "package.xml").read_text(encoding="utf-8"))
    needed = {f"ros-jazzy-{key.replace('_', '-')}" for key in keys if not key.startswith("python3-")}
    assert len(needed) > 10
    words = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").split()
    assert sorted(needed - set(words)) == []


def test_the_page_includes_the_launch_file_by_arguments_that_it_has() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert example
    compile(example[1], "docs/deployment.md", "exec")
    parts = (ROOT / "lwseg_ros" / "node" / "launch_parts.py").read_text()
    declared = set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', parts))
    used = set(re.findall(r'^ +"(\w+)": ', example[1], flags=re.MULTILINE))
    assert used
    assert used <= declared | set(PARAMETERS)
