"""Child processes that talk in lines of JSON, and the closed-off ROS environment that they share."""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lwseg_ros.errors import LwsegError
from lwseg_ros.imaging.transport import PROFILES_VARIABLES
from lwseg_ros.replay.live.protocol import parse_event

Events = queue.SimpleQueue[dict[str, Any]]  # the JSON of one line, and "source": the child's name

STDERR_TAIL_LINES = 12
# How long a child may take to end by itself when its input has ended.
GRACE_S = 0.3
# The highest domain whose ports lie below the range that Linux hands out on its own is 101.
DOMAIN_IDS = range(1, 102)
# From the domain's first port on: of all participants, for discovery by multicast, and of the first one.
_PARTICIPANT_PORTS = (0, 10)
FAST_DDS = "rmw_fastrtps"
RMW = "RMW_IMPLEMENTATION"
# What the user set for the vehicle's network, and what would come before a file of profiles.
_NETWORK_SETTINGS = {
    "FASTDDS_BUILTIN_TRANSPORTS",
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_DISCOVERY_SERVER",
    "ROS_LOCALHOST_ONLY",
    "ROS_STATIC_PEERS",
}


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait for the end of the block, so that no process is lost between its start and its owner.

    Only the main thread handles signals; in another one nothing needs to be deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for caught_number in caught:
            signal.raise_signal(caught_number)


class Child:
    """A Python process whose output is read by a thread, and which does not survive the `with` block."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, events: Events
    ) -> None:
        """Start `python ARGUMENTS`; its standard error goes to a file in the folder, its lines of JSON to the queue.

        Call it where interrupts are deferred until its `with` block is entered.
        """
        self.name = name
        self._log_path = folder / f"{name}.stderr"
        self._events = events
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=dict(environment),
                text=True,
                # Ctrl-C is for the parent, which stops its children in order
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name=f"read {name}")
        self._reader.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def send(self, line: str) -> None:
        """Write a line to its standard input; one that is gone is noticed by its exit code instead."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End its input, interrupt it if that is not enough, and kill it if need be. May be called again."""
        with interrupts_deferred():
            self._stop(timeout_s)

    def _stop(self, timeout_s: float) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        for number, patience_s in ((signal.SIGINT, timeout_s / 2), (signal.SIGTERM, timeout_s / 2)):
            if self._process.poll() is not None:
                break
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def last_words(self) -> str:
        """Return the end of its standard error."""
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-STDERR_TAIL_LINES:]) or "(nothing on its standard error)"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = parse_event(line)
            if event is not None:
                self._events.put({**event, "source": self.name})


def ros_environment(profiles: Path, domain_id: int | None = None, *, ignored: Collection[str] = ()) -> dict[str, str]:
    """Copy this process's environment with a ROS domain of its own, confined to this machine.

    A vehicle on the same network must neither see the replayed images nor be seen.

    Args:
        profiles: the configuration of Fast DDS (`isolation.write_profiles`), which confines it.
        domain_id: the ROS domain; None picks one that nobody uses.
        ignored: further variables that are not copied.
    """
    environment = {name: value for name, value in os.environ.items() if name not in {*_NETWORK_SETTINGS, *ignored}}
    environment["ROS_DOMAIN_ID"] = str(free_domain_id() if domain_id is None else domain_id)
    if (environment.get(RMW) or FAST_DDS).startswith(FAST_DDS):
        environment |= dict.fromkeys(PROFILES_VARIABLES, str(profiles))
    else:
        environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        environment["ROS_LOCALHOST_ONLY"] = "1"  # the same, before ROS 2 Iron
    return environment


def missing_middleware() -> str | None:
    """Name the middleware that the environment asks for where ROS cannot find its library, or return None.

    A vehicle's environment on a desk often asks for one that is not installed there, which stops every ROS process.
    """
    middleware = os.environ.get(RMW)
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))  # where ROS looks, and nowhere else
    if not middleware or any(Path(folder, f"lib{middleware}.so").is_file() for folder in folders):
        return None
    return middleware


def free_domain_id() -> int:
    """Pick a ROS domain that nobody on this machine uses, by the ports that its first participant would hold.

    Raises:
        LwsegError: all are taken.
    """
    # in random order, so that two replays started at once do not pick the same
    for domain_id in random.sample(DOMAIN_IDS, len(DOMAIN_IDS)):
        if not any(_port_in_use(7400 + 250 * domain_id + offset) for offset in _PARTICIPANT_PORTS):
            return domain_id
    raise LwsegError("all ROS domains from 1 to 101 are in use on this machine; stop some ROS 2 processes")


def _port_in_use(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise LwsegError(f"cannot look for a free ROS domain: {error}") from error
    return False
