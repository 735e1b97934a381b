"""A share of `make fuzz` with seeds that stay, and what its runner notices."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from fuzz import raw
from fuzz.__main__ import main
from fuzz.runner import KINDS, Kind, run


@pytest.mark.parametrize(
    ("name", "count"), [("raw", 3000), ("compressed", 600), ("model_files", 150), ("bags", 30), ("sweeps", 400)]
)
def test_a_share_of_the_inputs(name: str, count: int) -> None:
    if name == "sweeps":
        pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    report = run(KINDS[name], seed=1, count=count, num_workers=1)
    assert report.failures == {}
    assert report.outcomes.total() == count
    assert len(report.outcomes) > 1, "all inputs end alike: nothing is tried"


def test_the_runner_notices_what_must_not_happen() -> None:
    report = run(Kind("misbehaving", 9), seed=0, count=9, num_workers=2)
    assert sorted(report.failures) == [1, 2, 3, 4, 5]
    for seed, words in {
        1: "KeyError",
        2: "Memory",
        3: "exit code -11",
        4: "s of CPU time",
        5: "a wrong answer",
    }.items():
        assert words in report.failures[seed]
    assert report.slowest[1] == 4
    assert report.slowest[0] >= 2
    assert report.peak_bytes > 1 << 20


def test_a_run_tells_how_to_repeat_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(KINDS, "misbehaving", Kind("misbehaving", 9))
    command = ["fuzz", "--out", str(tmp_path), "--workers", "2", "--seed"]
    monkeypatch.setattr("sys.argv", [*command, "5", "misbehaving"])
    assert main() == 1
    assert "misbehaving --seed 5 --count 1`" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "summary.json").read_text())["misbehaving"]["failures"]) == ["5"]

    monkeypatch.setattr("sys.argv", [*command, "6", "--count", "40", "raw", "misbehaving"])
    assert main() == 0
    told = capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["raw", "misbehaving"]
    for name, figures in summary.items():
        assert (figures["seed"], figures["count"], figures["failures"]) == (6, 40, {})
        assert f"{name}: seed 6, 40 in" in told
        assert f"{name} --seed {figures['slowest_seed']} --count 1`" in told
        assert figures["peak_mib"] > 1


def test_the_same_seed_makes_the_same_input() -> None:
    made = [raw.sound_message(np.random.default_rng(7)) for _ in range(2)]
    assert made[0] == made[1]


sides = st.integers(0, 40) | st.sampled_from([255, 256, 8192, 16384, 2**31, 2**32 - 1])


@hypothesis.settings(max_examples=500, deadline=None, derandomize=True)
@hypothesis.given(
    encoding=st.sampled_from(raw.KNOWN) | st.sampled_from(raw.UNKNOWN) | st.text(max_size=20),
    height=sides,
    width=sides,
    step=st.none() | st.integers(0, 2**32 - 1),
    padding=st.integers(0, 5),
    missing=st.integers(0, 3),
    is_bigendian=st.integers(0, 255),
)
def test_fields_that_may_contradict_each_other(
    encoding: str, height: int, width: int, step: int | None, padding: int, missing: int, is_bigendian: int
) -> None:
    """The smallest message that is read otherwise than the reference reads it would be shown here."""
    known = raw.meant(encoding)
    row_bytes = width * (raw.bytes_per_pixel(known) if known else 3) + padding
    rows = raw.rows_of(known, height) if known else height
    size = max(0, min(rows * row_bytes, 10**6) - missing)
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    fields = {"height": height, "width": width, "encoding": encoding, "step": row_bytes if step is None else step}
    message = SimpleNamespace(**fields, is_bigendian=is_bigendian, data=data)
    raw.judge(message)
