"""What `lwseg replay`, `demo` and `soak` share."""

from __future__ import annotations

import signal

import pytest

from lwseg_ros.commands.replay_common import ends_in_order


def test_the_first_signal_is_asked_for_and_the_second_interrupts(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with ends_in_order() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGTERM)
        assert interrupted()
        assert "once more to end at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
