"""Commands in, events out, without a process."""

from __future__ import annotations

import io
import json
import sys
import threading

import pytest

from lwseg_ros.replay.live.protocol import Commands, InputEndedError, emit, load_message_type, parse_event


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


def test_message_types_that_are_not_installed_are_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="none of these message types is installed: no_such_msgs/msg/Nothing"):
        load_message_type("no_such_msgs/msg/Nothing")
