"""The process around a node ends in order whatever happens inside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from support import ros_harness  # noqa: F401  sets the domain for this process and its children

pytestmark = pytest.mark.integration

SCRIPT = """
import ctypes, sys, time
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from lwseg_ros.node.console import never_wait_for_readers
from lwseg_ros.node.process import ProcessEnd, spin_until_signal
from lwseg_ros.node.signals import end_at_once_on_signals, queue_signals

end_at_once_on_signals()
if sys.argv[1] == "before":
    print("before", flush=True)
    time.sleep(60)

class Trial(Node):
    def __init__(self):
        if sys.argv[1] == "failing constructor":
            raise RuntimeError("no node today")
        super().__init__("trial")
        if sys.argv[1] == "failing callback":
            self.create_timer(0.05, self.fail)
        if sys.argv[1] == "end":
            self.create_timer(0.05, self.end)
    def fail(self):
        raise RuntimeError("the callback failed")
    def end(self):
        raise ProcessEnd(3, "no more to do")
    def autostart(self):
        if sys.argv[1] == "slow start":
            print("starting", flush=True)
            time.sleep(0.5)
        if sys.argv[1] == "hanging start":
            print("starting", flush=True)
            ctypes.CDLL(None).sleep(60)
        print("ready", flush=True)
        if sys.argv[1] == "no streams":  # as of a process that was started without
            sys.stdout = sys.stderr = None
        return sys.argv[1] != "failing start"
    def interrupt(self):
        pass
    def close(self):
        print("closed", flush=True)
        if sys.argv[1] == "hanging end":
            ctypes.CDLL(None).sleep(60)
        return sys.argv[1] not in ("hanging thread", "no streams")

never_wait_for_readers()
exit_codes = queue_signals()
rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
code = spin_until_signal([Trial], exit_codes)
rclpy.try_shutdown()
sys.exit(code)
"""


def start(case: str, errors: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, case]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=dict(os.environ))


@contextlib.contextmanager
def pipe_that_takes_nothing(state: str) -> Iterator[int]:
    """Give the writing end of a pipe that nobody holds any more ("broken"), or that nobody reads and is "full"."""
    reading, writing = os.pipe()
    if state == "broken":
        os.close(reading)
    else:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, bytes(4096))
        os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(writing)
        if state == "full":
            os.close(reading)


def test_a_failing_callback_ends_the_process_with_its_traceback() -> None:
    process = start("failing callback")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert output.split() == ["ready", "closed"]
    assert "RuntimeError: the callback failed" in errors


def test_a_node_that_cannot_be_made_ends_the_process() -> None:
    process = start("failing constructor")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "RuntimeError: no node today" in errors


def test_a_failing_start_ends_the_process() -> None:
    process = start("failing start")
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert output.split() == ["ready", "closed"]


def test_a_signal_while_starting_is_kept() -> None:
    process = start("slow start")
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert output.split() == ["ready", "closed"]


def test_further_signals_do_not_cut_the_end_short() -> None:
    process = start("well")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.01)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert output.split() == ["closed"]


def test_a_signal_before_the_node_ends_at_once() -> None:
    process = start("before")
    assert process.stdout is not None
    assert process.stdout.readline() == "before\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("case", ["hanging start", "hanging end", "hanging thread"])
def test_what_hangs_is_not_waited_for(case: str) -> None:
    process = start(case)
    assert process.stdout is not None
    assert process.stdout.readline() in ("starting\n", "ready\n")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "ends without waiting for what hangs" in errors


@pytest.mark.parametrize("state", ["broken", "full"])
@pytest.mark.parametrize("case", ["failing constructor", "failing callback", "end", "hanging start", "no streams"])
def test_the_end_comes_though_nobody_reads_the_last_words(case: str, state: str) -> None:
    with pipe_that_takes_nothing(state) as errors:
        process = start(case, errors)
        if case in ("hanging start", "no streams"):
            assert process.stdout is not None
            assert process.stdout.readline() in ("starting\n", "ready\n")
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == {"failing constructor": 1, "failing callback": 1, "end": 3}.get(case, 0)


def test_a_node_whose_log_nobody_reads_goes_on() -> None:
    with pipe_that_takes_nothing("full") as errors:
        command = [sys.executable, "-m", "lwseg_ros.node", "--ros-args", "-p", "model:=/nowhere/model.onnx"]
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=dict(os.environ))
        assert process.wait(20) == 1


def test_a_callback_may_end_the_process_with_an_exit_code() -> None:
    process = start("end")
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 3
    assert output.split() == ["ready", "closed"]
    assert "no more to do" in errors
    assert "Traceback" not in errors
