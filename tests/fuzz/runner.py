"""Try inputs in child processes that may take only so much memory, and so much time for each."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

GIB = 1 << 30
# An answer that has not come by then never will.
HANG_S = 60.0
MAX_MESSAGE = 10_000  # characters that an error may take to say what is wrong
REPORT_S = 0.5


@dataclass(frozen=True)
class Kind:
    """A kind of input: its module in this folder, how many `make fuzz` tries, and what one may cost."""

    name: str
    count: int
    max_cpu_s: float = 1.0
    max_bytes: int = GIB


KINDS = {
    kind.name: kind
    for kind in (
        Kind("raw", 1_000_000),
        Kind("compressed", 120_000),
        Kind("model_files", 12_000),
        Kind("sweeps", 60_000),
        Kind("bags", 2_500, max_cpu_s=10.0, max_bytes=4 * GIB),  # as large as what a recording declares
    )
}


@dataclass
class Report:
    """What became of the inputs.

    Attributes:
        outcomes: how many ended how.
        failures: what went wrong, by seed.
        slowest: seconds of CPU time that the slowest input took, and its seed.
        peak_bytes: the most memory that a process has held, its libraries included.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, 0)
    peak_bytes: int = 0

    def add(self, other: Report) -> None:
        """Take in what became of other inputs."""
        self.outcomes.update(other.outcomes)
        self.failures.update(other.failures)
        self.slowest = max(self.slowest, other.slowest)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)


Option = TypeVar("Option")


def pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """Choose one; numpy would take the zeros off the end of bytes."""
    return options[int(rng.integers(len(options)))]


def refused(error: Exception) -> str:
    """Name the outcome of an input that ended in a documented error; being out of memory is none in whatever words."""
    cause: BaseException | None = error
    while (cause := cause.__cause__ or cause.__context__) is not None:  # the message may quote the input's own words
        assert not isinstance(cause, MemoryError), f"out of memory: {error}"
        assert "memory" not in str(cause).lower(), f"out of memory: {error}"
    assert len(str(error)) < MAX_MESSAGE, f"a message of {len(str(error))} characters: {str(error)[:200]}..."
    return f"refused with {type(error).__name__}"


class _Child:
    """A process that tries every `step`-th seed, and what it has told so far."""

    def __init__(self, kind: Kind, seeds: range) -> None:
        context = multiprocessing.get_context("spawn")
        self.seeds = seeds
        self._in_hand: Any = context.Value("q", seeds.start, lock=False)
        self.connection, theirs = context.Pipe(duplex=False)
        self.process = context.Process(target=_work, args=(kind, seeds, self._in_hand, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self._seen, self._since = seeds.start, time.monotonic()

    @property
    def in_hand(self) -> int:
        return int(self._in_hand.value)

    @property
    def hangs(self) -> bool:
        if self.in_hand != self._seen:
            self._seen, self._since = self.in_hand, time.monotonic()
        return time.monotonic() - self._since > HANG_S


def run(kind: Kind, seed: int, count: int, num_workers: int) -> Report:
    """Try the inputs of the seeds from `seed` on. A child that dies or hangs does so on account of the input in its hand."""
    report = Report()
    children: dict[Connection, _Child] = {}

    def start(seeds: range) -> None:
        if seeds:
            child = _Child(kind, seeds)
            children[child.connection] = child

    for index in range(num_workers):
        start(range(seed + index, seed + count, num_workers))
    while children:
        for connection in wait(list(children), timeout=1.0):
            assert isinstance(connection, Connection)
            try:
                report.add(connection.recv())
            except EOFError:
                child = children.pop(connection)
                child.process.join()
                if child.process.exitcode:
                    lost = child.in_hand
                    report.failures.setdefault(lost, f"its process ended with exit code {child.process.exitcode}")
                    start(range(lost + child.seeds.step, child.seeds.stop, child.seeds.step))
        for child in children.values():
            if child.hangs and child.process.is_alive():
                report.failures[child.in_hand] = f"no answer within {HANG_S:.0f} s"
                child.process.kill()
    assert report.failures or report.outcomes.total() == count, (
        f"{report.outcomes.total()} of {count} inputs were tried"
    )
    return report


def _work(kind: Kind, seeds: range, in_hand: Any, connection: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libpng and OpenCV tell of every damaged stream
    check: Callable[[int], str] = importlib.import_module(f"fuzz.{kind.name}").check
    _try(check, seeds[0], kind.max_cpu_s)  # what is loaded once is no input's cost
    virtual_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual_bytes + kind.max_bytes, resource.RLIM_INFINITY))
    report, told = Report(), time.monotonic()
    for seed in seeds:
        in_hand.value = seed
        outcome, failure, cpu_s = _try(check, seed, kind.max_cpu_s)
        if failure:
            report.failures[seed] = failure
        report.outcomes[outcome] += 1
        report.slowest = max(report.slowest, (cpu_s, seed))
        if failure or seed + seeds.step >= seeds.stop or time.monotonic() - told > REPORT_S:  # the next may be the last
            report.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            connection.send(report)
            report, told = Report(), time.monotonic()


def _try(check: Callable[[int], str], seed: int, max_cpu_s: float) -> tuple[str, str, float]:
    """Return what became of an input, what should not have, and the CPU time that it took in seconds."""
    for _ in range(3):  # on a busy machine one may be slow once, but not three times
        began = time.process_time()
        try:
            outcome = check(seed)
        except BaseException as error:
            return "failed", "".join(traceback.format_exception(error)[-3:]), time.process_time() - began
        cpu_s = time.process_time() - began
        if cpu_s <= max_cpu_s:
            return outcome, "", cpu_s
    return "failed", f"{cpu_s:.1f} s of CPU time, at most {max_cpu_s} are accepted ({outcome})", cpu_s
