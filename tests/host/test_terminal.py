"""Names of others on a terminal: control characters are seen, and do nothing."""

from __future__ import annotations

import sys

import pytest

from lwseg_ros.host.terminal import say, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jroad\r\x07", r"\x1b[2Jroad\r\x07"),
        ("a\nb\x7f\x9b31m", r"a\nb\x7f\x9b31m"),
        ("over\u202eride \u2066x\u2028", r"over\u202eride \u2066x\u2028"),
        ("byte \udc9b, \uffff", r"byte \udc9b, \uffff"),
        ("Straße\t自転車 🚲 C:\\x1b", "Straße\t自転車 🚲 C:\\x1b"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo\x1b[A")
    say(OSError("three\r"), sys.stderr)
    assert capsys.readouterr() == ("one\ntwo\\x1b[A\n", "three\\r\n")
