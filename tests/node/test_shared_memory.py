"""When the node gives itself more shared memory, and when it leaves things to the user."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import signal
import tempfile
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from support.ros_harness import NodeProcess, Probe

from lwseg_ros.imaging.transport import PROFILES_VARIABLES, SHARED_MEMORY
from lwseg_ros.node import shared_memory
from lwseg_ros.node.shared_memory import remove_abandoned_segments, room_for_images


@pytest.fixture(autouse=True)
def nothing_decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*PROFILES_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS", "ROS2_EASY_MODE", "RMW_IMPLEMENTATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("rclpy_version", "variable"),
    [
        ("3.3.16", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("7.1.5", "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("9.1.2", "FASTDDS_DEFAULT_PROFILES_FILE"),
        ("10.0.0", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
@pytest.mark.parametrize("middleware", [None, "rmw_fastrtps_cpp", "rmw_fastrtps_dynamic_cpp"])
def test_a_profile_is_there_under_the_name_that_the_distribution_knows(
    rclpy_version: str, variable: str, middleware: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if middleware:
        monkeypatch.setenv("RMW_IMPLEMENTATION", middleware)
    monkeypatch.setattr(shared_memory.importlib.metadata, "version", lambda name: rclpy_version)
    before = dict(os.environ)
    with room_for_images():
        assert set(os.environ) - set(before) == {variable}
        path = Path(os.environ[variable])
        assert f"<segment_size>{32 << 20}</segment_size>" in path.read_text(encoding="utf-8")
    assert dict(os.environ) == before
    assert not path.exists()


@pytest.mark.parametrize("found", ["0+unknown", "", "v9", "unknown", None, PackageNotFoundError("rclpy")])
def test_where_rclpy_does_not_tell_its_version_both_names_are_set(
    found: str | Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str | None:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(shared_memory.importlib.metadata, "version", version)
    before = dict(os.environ)
    with room_for_images():
        assert set(os.environ) - set(before) == set(PROFILES_VARIABLES)
        assert len({os.environ[name] for name in PROFILES_VARIABLES}) == 1
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "decision",
    [
        {"FASTDDS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
        {"ROS2_EASY_MODE": "10.0.0.7"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
        {"RMW_IMPLEMENTATION": "rmw_zenoh_cpp"},
    ],
)
def test_what_the_user_set_stays(decision: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in decision.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with room_for_images():
        assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["DEFAULT_FASTDDS_PROFILES.xml", "DEFAULT_FASTRTPS_PROFILES.xml"])
def test_profiles_in_the_working_folder_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    before = dict(os.environ)
    with room_for_images():
        assert dict(os.environ) == before


def test_where_shared_memory_is_scarce_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "affordable_segment_bytes", lambda wanted: 512 << 10)
    before = dict(os.environ)
    with room_for_images():
        assert dict(os.environ) == before


def test_where_no_file_can_be_written_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with room_for_images():
        assert dict(os.environ) == before
    full = functools.partial(open, "/dev/full", "wb")
    monkeypatch.setattr(shared_memory.tempfile, "NamedTemporaryFile", lambda *, buffering, **_: full(buffering))
    with room_for_images():
        assert dict(os.environ) == before


def test_what_fails_in_the_block_comes_out_of_it() -> None:
    before = dict(os.environ)
    with pytest.raises(FileNotFoundError), room_for_images():
        raise FileNotFoundError
    assert dict(os.environ) == before


def make_segment(folder: Path, name: str, age_s: float) -> Path:
    segment = folder / name
    segment.write_bytes(b"images")
    os.utime(segment, (time.time() - age_s,) * 2)
    return segment


def test_abandoned_segments_are_removed_and_no_others(tmp_path: Path) -> None:
    names = (
        "fastdds_0123456789abcdef",
        "fastrtps_00000000000000ff",
        "fastdds_aaaaaaaaaaaaaaaa",
        "fastdds_bbbbbbbbbbbbbbbb",
    )
    abandoned, earlier, in_use, new = (
        make_segment(tmp_path, name, age_s) for name, age_s in zip(names, (120, 9999, 120, 1), strict=True)
    )
    other = make_segment(tmp_path, "fastdds_port7000", 120)
    without_lock = make_segment(tmp_path, "fastdds_cccccccccccccccc", 120)
    fifo = make_segment(tmp_path, "fastdds_dddddddddddddddd", 120)
    link = make_segment(tmp_path, "fastdds_eeeeeeeeeeeeeeee", 120)
    for segment in (abandoned, earlier, in_use, new, other):
        (tmp_path / f"{segment.name}_el").touch()
    os.mkfifo(f"{fifo}_el")
    Path(f"{link}_el").symlink_to(tmp_path / "elsewhere")
    with Path(f"{in_use}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        remove_abandoned_segments(tmp_path)
    left = {path for path in tmp_path.iterdir() if not path.name.endswith("_el")}
    assert left - {fifo} == {in_use, new, other, without_lock, link}
    assert not Path(f"{abandoned}_el").exists()
    remove_abandoned_segments(tmp_path / "nowhere")


@pytest.mark.integration
def test_a_killed_node_leaves_a_segment_that_the_next_one_removes(tmp_path: Path) -> None:
    parameters = {"autostart": "false"}
    probe = Probe()
    try:
        with NodeProcess(tmp_path, parameters) as node:
            assert probe.state() == "unconfigured"
            maps = Path(f"/proc/{node.process.pid}/maps").read_text()
            used = {Path(path) for path in re.findall(rf"{SHARED_MEMORY}/fast\w+_[0-9a-f]{{16}}\b", maps)}
            (own,) = (path for path in used if path.stat().st_size > 4 * shared_memory.DEFAULT_SEGMENT_BYTES)
            assert node.end(signal.SIGKILL) == -signal.SIGKILL
        assert own.exists()
        os.utime(own, (time.time() - 120,) * 2)
        with NodeProcess(tmp_path, parameters):
            probe.spin_until(lambda: not own.exists(), "the removal of the segment")
    finally:
        probe.close()
