"""Child processes: their events, their last words, and that none survives."""

from __future__ import annotations

import queue
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from lwseg_ros.errors import LwsegError
from lwseg_ros.imaging import transport
from lwseg_ros.replay.live import isolation, processes
from lwseg_ros.replay.live.processes import Child, Events, free_domain_id, interrupts_deferred, ros_environment


def start(code: str, folder: Path, events: Events) -> Child:
    return Child(
        "child",
        ["-u", "-c", code],
        environment=ros_environment(folder / "profiles.xml", 7),
        folder=folder,
        events=events,
    )


def wait_for_exit(child: Child) -> None:
    deadline_s = time.monotonic() + 20
    while child.exit_code is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_lines_of_json_become_events_and_others_do_not(tmp_path: Path) -> None:
    events: Events = Events()
    code = 'print(\'hello\'); print(3); print(\'{"event": "ready", "n": 1}\'); input(); print(\'{"event": "done"}\')'
    with start(code, tmp_path, events) as child:
        assert events.get(timeout=20) == {"event": "ready", "n": 1, "source": "child"}
        child.send("go")
        assert events.get(timeout=20) == {"event": "done", "source": "child"}
        wait_for_exit(child)
    assert child.exit_code == 0
    with pytest.raises(queue.Empty):
        events.get_nowait()


def test_the_end_of_standard_error_is_kept(tmp_path: Path) -> None:
    with start("import sys; [print(i, file=sys.stderr) for i in range(50)]; sys.exit(3)", tmp_path, Events()) as child:
        wait_for_exit(child)
        child.send("nobody reads this any more")
        assert child.exit_code == 3
        assert child.last_words().splitlines() == [str(i) for i in range(38, 50)]
    with start("pass", tmp_path, Events()) as silent:
        wait_for_exit(silent)
    assert silent.last_words() == "(nothing on its standard error)"


@pytest.mark.parametrize("ignored", ["SIGINT", "SIGTERM"])
def test_a_stubborn_child_is_killed(tmp_path: Path, ignored: str) -> None:
    events: Events = Events()
    code = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
        f'signal.signal(signal.{ignored}, signal.SIG_IGN); print(\'{{"event": "ready"}}\'); time.sleep(60)'
    )
    child = start(code, tmp_path, events)
    events.get(timeout=20)
    started_s = time.monotonic()
    child.stop(timeout_s=0.4)
    assert time.monotonic() - started_s < 5
    assert child.exit_code in (-15, -9)
    child.stop()


def test_a_child_ends_with_an_exception_in_the_parent(tmp_path: Path) -> None:
    events: Events = Events()
    child = start("print('{}'); import time; time.sleep(60)", tmp_path, events)
    events.get(timeout=20)
    with pytest.raises(RuntimeError, match="boom"), child:
        raise RuntimeError("boom")
    assert child.exit_code is not None


def test_the_environment_is_closed_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "0")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    environment = ros_environment(tmp_path / "profiles.xml")
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 101
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(tmp_path / "profiles.xml")
    assert not {"ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTDDS_BUILTIN_TRANSPORTS"} & set(environment)
    assert ros_environment(tmp_path / "profiles.xml", 3)["ROS_DOMAIN_ID"] == "3"


def test_another_middleware_is_confined_its_own_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    environment = ros_environment(tmp_path / "profiles.xml")
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in environment


def test_a_middleware_that_is_not_installed_is_named_and_can_be_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere::{tmp_path}")
    (tmp_path / "librmw_here_cpp.so").touch()
    for name, missing in {"": None, "rmw_here_cpp": None, "rmw_gone_cpp": "rmw_gone_cpp", "../x": "../x"}.items():
        monkeypatch.setenv("RMW_IMPLEMENTATION", name)
        assert processes.missing_middleware() == missing
    monkeypatch.delenv("RMW_IMPLEMENTATION")
    assert processes.missing_middleware() is None
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_gone_cpp")
    environment = ros_environment(tmp_path / "profiles.xml", ignored=["RMW_IMPLEMENTATION"])
    assert "RMW_IMPLEMENTATION" not in environment
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(tmp_path / "profiles.xml")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "")  # is as good as none
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in ros_environment(tmp_path / "profiles.xml")


@pytest.mark.parametrize(
    ("image_bytes", "free_bytes", "segment_bytes"),
    [(500, 1 << 34, 16 << 20), (20 << 20, 1 << 34, 80 << 20), (20 << 20, 64 << 20, 8 << 20)],
)
def test_shared_memory_has_room_for_images_as_far_as_there_is_some(
    image_bytes: int, free_bytes: int, segment_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free_bytes)
    monkeypatch.setattr(transport.shutil, "disk_usage", lambda path: usage)
    isolation.write_profiles(tmp_path / "profiles.xml", image_bytes)
    assert f"<segment_size>{segment_bytes}</segment_size>" in (tmp_path / "profiles.xml").read_text()


@pytest.mark.parametrize("offset", [0, 10])
def test_a_domain_in_use_is_not_picked(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_domain_id()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as for multicast
        participant.bind(("", 7400 + 250 * taken + offset))
        monkeypatch.setattr(processes, "DOMAIN_IDS", range(taken, taken + 1))
        with pytest.raises(LwsegError, match="all ROS domains from 1 to 101 are in use"):
            free_domain_id()
    assert free_domain_id() == taken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupts_wait_for_the_end_of_the_block(number: signal.Signals) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(number, interrupt)
    steps = []

    def disturbed() -> None:
        with interrupts_deferred():
            signal.raise_signal(number)
            steps.append("went on")

    try:
        with pytest.raises(KeyboardInterrupt):
            disturbed()
        assert signal.getsignal(number) is interrupt
        with interrupts_deferred():
            steps.append("undisturbed")
    finally:
        signal.signal(number, previous)
    assert steps == ["went on", "undisturbed"]


def test_another_thread_has_no_interrupts_to_defer() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with interrupts_deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
