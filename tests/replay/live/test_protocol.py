"""Commands in, events out, without a process."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time

import pytest

from lwseg_ros.replay.live.protocol import Commands, InputEndedError, emit, parse_event


def test_what_is_emitted_can_be_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    emit(event="published", index=3)
    assert parse_event(capsys.readouterr().out) == {"event": "published", "index": 3}
    assert parse_event("a library's greeting\n") is None
    assert parse_event(json.dumps([1])) is None


def test_the_end_of_the_input_interrupts_every_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("go\ngo on\n"))
    told = threading.Event()
    commands = Commands(on_end=told.set)
    assert told.wait(10)
    assert commands.ended
    assert [commands.next(), commands.next()] == ["go", "go on"]
    with pytest.raises(InputEndedError):
        commands.next()
    with pytest.raises(InputEndedError):
        commands.sleep(60)


def test_a_wait_for_a_line_may_be_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(read) as lines, os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdin", lines)
        commands = Commands()
        started_s = time.monotonic()
        assert commands.next(0.25) is None
        assert time.monotonic() - started_s >= 0.25
        assert commands.next(-1.0) is None
        pipe.write("stop\n")
        pipe.flush()
        assert commands.next(60.0) == "stop"
        pipe.close()
        with pytest.raises(InputEndedError):
            commands.next(60.0)
