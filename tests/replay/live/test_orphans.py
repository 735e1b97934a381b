"""What becomes of the processes of a replay or soak whose own process is killed: none outlives it, and their folder neither."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bag_files import painted_messages, write_messages
from support.child_processes import children

from lwseg_ros.model.model_file import ModelFile

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install 'lwseg_ros[ros]'")
pytestmark = pytest.mark.integration

TIMEOUT_S = 30.0  # of what takes seconds, on a machine that is busy
LABELS = {"replay": r" [1-9]\d*/200 ", "soak": r" [1-9]\d* labels, "}  # what the progress says once there are some


@pytest.fixture
def adopted() -> Iterator[set[int]]:
    """Children that lost their parent and did not end; killed after the test."""
    pids: set[int] = set()
    yield pids
    for pid in filter(runs, pids):
        os.kill(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # which nobody may be there to wait for


def wait_until(condition: Callable[[], bool], what: str = "") -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


@pytest.mark.parametrize("command", ["replay", "soak"])
@pytest.mark.parametrize("moment", ["start", "work"])
def test_no_process_outlives_a_parent_that_is_killed(
    tmp_path: Path, tiny_model: ModelFile, adopted: set[int], command: str, moment: str
) -> None:
    bag, temporary = write_messages(tmp_path / "bag", painted_messages(200)), tmp_path / "temporary"
    temporary.mkdir()
    arguments = [command, *([str(bag)] if command == "replay" else ["--minutes", "30"])]
    arguments += ["--model", str(tiny_model.path), "--backend", "onnxruntime", "-o", str(tmp_path / "out")]
    parent = subprocess.Popen(
        [sys.executable, "-m", "lwseg_ros.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert parent.stderr is not None
    try:
        # and the shell that removes their folder
        wait_until(lambda: len(children(parent.pid)) == (4 if command == "replay" else 3) or parent.poll() is not None)
        adopted |= set(children(parent.pid))
        assert adopted
        if moment == "work":
            said = ""
            while not re.search(LABELS[command], said):
                said += parent.stderr.read(1)
                assert parent.poll() is None, said
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: not any(map(runs, adopted)), str(adopted))
    assert not list(temporary.iterdir())
    assert not list((tmp_path / "out").glob("*"))
