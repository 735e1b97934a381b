"""SIGTERM in every state ends the node with the documented exit code within five seconds.

A few times each; `LWSEG_EXITS=50 pytest tests/node/test_exits.py -n0 -s` shows what only sometimes goes wrong.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
pytest.importorskip("openvino", reason="openvino is not installed: pip install 'lwseg_ros[cpu]'")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from support.ros_harness import NodeProcess, Probe, image_message
from support.tiny_model import painted_image

from lwseg_ros.model.model_file import ModelFile

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("LWSEG_EXITS", "2"))
LIMIT_S = 5.0
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SUPPORT = Path(__file__).parents[1] / "support"
FAULTY_PROGRAM = (str(SUPPORT / "faulty_node.py"),)


def through(*transitions: int) -> Callable[[NodeProcess], None]:
    def prepare(node: NodeProcess) -> None:
        probe = Probe()
        try:
            for transition in transitions:
                assert probe.transition(transition), node.output
            if not transitions:
                assert probe.state() == "unconfigured"
            if transitions and transitions[-1] == ACTIVATE:
                work(probe)
        finally:
            probe.close()

    return prepare


def work(probe: Probe) -> None:
    probe.subscribe("/segment/label")
    probe.connect("/image", lambda: image_message(painted_image((48, 64))[0], stamp=probe.now()), "/segment/label")


def wait_for_handler(node: NodeProcess) -> None:
    """Wait until the process catches SIGTERM, then for a while at random, in which it imports or begins to work."""
    status = Path(f"/proc/{node.process.pid}/status")
    while True:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            break
        time.sleep(0.005)
    time.sleep(random.uniform(0, 3))


def hang(node: NodeProcess) -> None:
    probe = Probe()
    work(probe)
    Path(os.environ["FAULT_FILE"]).write_text("hang")
    publisher = probe.publisher("/image", type(image_message(painted_image((48, 64))[0], stamp=probe.now())))
    publisher.publish(image_message(painted_image((48, 64))[0], stamp=probe.now()))
    probe.spin_for(1.5)
    probe.close()


@pytest.mark.parametrize(
    ("prepare", "autostart"),
    [
        pytest.param(through(), False, id="unconfigured"),
        pytest.param(through(CONFIGURE), False, id="inactive"),
        pytest.param(through(CONFIGURE, ACTIVATE), False, id="active"),
        pytest.param(through(CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP), False, id="after cleanup"),
        pytest.param(through(CONFIGURE, CLEANUP, CONFIGURE, ACTIVATE), False, id="after reconfiguring"),
        pytest.param(through(DEACTIVATE, CLEANUP), True, id="after cleanup of a node that started itself"),
        pytest.param(wait_for_handler, True, id="at a random moment of the start"),
        pytest.param(hang, True, id="hung backend"),
    ],
)
def test_sigterm(
    tiny_model: ModelFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[NodeProcess], None],
    autostart: bool,
) -> None:
    faulty = prepare is hang
    fault_file = tmp_path / "fault"
    monkeypatch.setenv("FAULT_FILE", str(fault_file))
    parameters = {
        "model": tiny_model.path,
        "backend": "onnxruntime" if faulty else "openvino",
        "num_threads": 1,
        "autostart": str(autostart).lower(),
    }

    def start() -> NodeProcess:
        fault_file.unlink(missing_ok=True)
        return NodeProcess(tmp_path, parameters, program=FAULTY_PROGRAM if faulty else ("-m", "lwseg_ros.node"))

    check_exits(start, prepare, hangs=faulty)


def check_exits(start: Callable[[], NodeProcess], prepare: Callable[[NodeProcess], None], *, hangs: bool) -> None:
    """Start a node, bring it into a state and send SIGTERM, COUNT times; hangs: whether it is to end without waiting."""
    exits: Counter[int] = Counter()
    slowest_s = 0.0
    for _ in range(COUNT):
        with start() as node:
            prepare(node)
            began_s = time.monotonic()
            exits[node.end(signal.SIGTERM)] += 1
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            assert ("hangs" in node.output) == hangs, node.output
    print(f"{COUNT} SIGTERMs: exit codes {dict(exits)}, the slowest after {slowest_s:.1f} s")
    assert exits == {0: COUNT}
    assert slowest_s < LIMIT_S


def by_itself(probe: Probe) -> None:
    pass


def on_request(probe: Probe) -> None:
    """Ask for `configure`, without waiting for the answer."""
    client = probe.node.create_client(ChangeState, "/segment/change_state")
    probe.spin_until(client.service_is_ready, "the service change_state")
    client.call_async(ChangeState.Request(transition=Transition(id=CONFIGURE)))


def on_a_lost_device(probe: Probe) -> None:
    """Lose the CUDA device in active, so that a runtime on the CPU is opened."""
    work(probe)
    Path(os.environ["FAKE_CUDA_ERROR"]).write_text("700")
    probe.publish("/image", image_message(painted_image((48, 64))[0], stamp=probe.now()))


@pytest.mark.parametrize(
    ("begin", "seconds"),
    [(by_itself, None), (by_itself, 1), (on_request, None), (on_request, 1), (on_a_lost_device, None)],
)
def test_sigterm_while_a_model_is_being_opened(
    tiny_model: ModelFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[Probe], None],
    seconds: int | None,
) -> None:
    fault_file, opening, cuda_error = (tmp_path / name for name in ("fault", "fault.opening", "cuda_error"))
    monkeypatch.setenv("FAULT_FILE", str(fault_file))
    monkeypatch.setenv("FAKE_CUDA_ERROR", str(cuda_error))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fallback = begin is on_a_lost_device
    if fallback:
        monkeypatch.setenv("PYTHONPATH", str(SUPPORT / "fake_gpu"), prepend=os.pathsep)
    parameters = {
        "model": tiny_model.path,
        "backend": "tensorrt" if fallback else "onnxruntime",
        "on_backend_loss": "cpu",
        "num_threads": 1,
        "autostart": str(begin is not on_request).lower(),
    }

    def start() -> NodeProcess:
        opening.unlink(missing_ok=True)
        cuda_error.unlink(missing_ok=True)
        fault_file.write_text("open hangs" if seconds is None else f"open hangs {seconds}")
        return NodeProcess(tmp_path, parameters, program=FAULTY_PROGRAM)

    def prepare(node: NodeProcess) -> None:
        probe = Probe()
        begin(probe)
        probe.spin_until(opening.exists, "the opening of a model")
        probe.close()

    check_exits(start, prepare, hangs=seconds is None)
