"""One thread opens, runs and closes; what hangs in it is left behind."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lwseg_ros.errors import BackendError
from lwseg_ros.node.backend_thread import BackendThread


class Recorder(SimpleNamespace):
    """Stand in for a segmenter, and note in which thread it is used."""

    def __init__(self) -> None:
        self.threads = [threading.get_ident()]

    def close(self) -> None:
        self.threads.append(threading.get_ident())


def test_one_thread_opens_runs_and_closes() -> None:
    thread = BackendThread()
    made: Any = thread.open(Recorder, meanwhile=lambda: None, period_s=1.0)  # type: ignore[arg-type]
    made.threads.append(thread.submit(threading.get_ident).result(10))
    assert thread.close(10)
    assert len(made.threads) == 3
    assert len(set(made.threads)) == 1
    assert made.threads[0] != threading.get_ident()
    assert not thread.hangs
    assert thread.opening_s == 0


def test_others_go_on_while_it_opens() -> None:
    release = threading.Event()
    calls: list[float] = []
    thread = BackendThread()

    def meanwhile() -> None:
        calls.append(thread.opening_s)
        if len(calls) == 3:
            release.set()

    thread.open(lambda: release.wait(20) and Recorder(), meanwhile=meanwhile, period_s=0.02)  # type: ignore[arg-type,return-value]
    assert calls == sorted(calls)
    assert calls[0] > 0
    assert thread.close(10)


def test_what_opening_raises_comes_through_and_the_thread_ends() -> None:
    def fail() -> Any:
        raise BackendError("no such runtime")

    thread = BackendThread()
    with pytest.raises(BackendError, match="no such runtime"):
        thread.open(fail, meanwhile=lambda: None, period_s=1.0)
    assert thread.opening_s == 0
    assert thread.close(10)


def test_what_hangs_is_left_behind_and_closes_when_it_returns() -> None:
    release = threading.Event()
    thread = BackendThread()
    made: Any = thread.open(Recorder, meanwhile=lambda: None, period_s=1.0)  # type: ignore[arg-type]
    hanging = thread.submit(lambda: release.wait(20))
    assert not thread.close(0.05)
    assert thread.hangs
    release.set()
    hanging.result(10)
    assert thread._closing is not None
    thread._closing.result(10)
    assert not thread.hangs
    assert len(made.threads) == 2
