"""Live replay with the real node, player and collector in processes of their own, over real DDS."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from support.bag_files import (
    COMPRESSED_IMAGE,
    IMAGE_TOPIC,
    TYPES,
    header,
    image_message,
    jpeg_message,
    painted_messages,
    stamp_ns,
    write_messages,
)
from support.child_processes import children

from lwseg_ros.errors import BagError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.live import recording, run
from lwseg_ros.replay.live.recording import LiveRecording, Published, Received, SpoolError
from lwseg_ros.replay.live.run import LiveOptions, LiveReplayError, replay_live
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.results import FrameCounts
from lwseg_ros.segmenter import Segmenter

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install 'lwseg_ros[ros]'")
pytestmark = pytest.mark.integration

NUM_FRAMES = 15


def options(model: ModelFile, **changes: object) -> LiveOptions:
    return LiveOptions(**{"model": model.path, "backend": "onnxruntime", "startup_timeout_s": 60.0, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("compressed", [True, False])
def test_every_frame_comes_back_and_live_equals_offline(
    tmp_path: Path, tiny_model: ModelFile, compressed: bool
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(NUM_FRAMES, compressed=compressed))
    events: list[tuple[str, int]] = []
    # A third of the recorded rate: a machine that stands still for two frames would cost one.
    slowly = options(tiny_model, rate=1 / 3)
    live = replay_live(bag, slowly, num_kept=2, on_event=lambda *event: events.append(event))
    figures = live.figures()
    assert figures["frames"] == {
        "published": NUM_FRAMES,
        "segmented": NUM_FRAMES,
        "dropped": 0,
        "bad": 0,
        "dropped_by_cause": {},
    }
    assert figures["rate_hz"] == pytest.approx(5.0, rel=0.2)
    assert 0 < figures["engine_ms"]["p50"] < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"] < 1000
    assert len(live.latencies_ms) == len(live.inference_ms) == NUM_FRAMES
    assert (figures["backend"], figures["precision"]) == ("onnxruntime", "fp32")
    assert [count for kind, count in events if kind == "label"] == list(range(1, NUM_FRAMES + 1))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        offline = replay_offline(bag, segmenter, num_kept=2)
    assert np.array_equal(live.evaluator.confusion.counts, offline.evaluator.confusion.counts)
    assert np.array_equal(live.evaluator.uncertainty.counts, offline.evaluator.uncertainty.counts)
    assert [row.latency_ms for row in live.rows] == list(live.latencies_ms)
    assert [replace(row, latency_ms=None) for row in live.rows] == list(offline.rows)
    for one, other in zip(live.kept, offline.kept, strict=True):
        assert np.array_equal(one.prediction.label, other.prediction.label)
        assert one.prediction.uncertainty is not None
        assert np.array_equal(one.prediction.uncertainty, other.prediction.uncertainty)
    assert not children()


def test_ground_truth_is_checked_before_anything_is_started(tmp_path: Path, tiny_model: ModelFile) -> None:
    messages = painted_messages(3)
    topic, log_ns, _ = messages[-1]
    strange = image_message(np.full((48, 64), 200, np.uint8), log_ns)
    bag = write_messages(tmp_path / "bag", [*messages[:-1], (topic, log_ns, strange)])
    # a node that was started could not be ready in this time, and would be the error
    with pytest.raises(BagError, match=r"frame 2: label on /cam/label at \d+ ns holds the values \[200\]"):
        replay_live(bag, options(tiny_model, startup_timeout_s=0.0))
    assert not children()


def udp_addresses(pid: int) -> set[str]:
    """List the local IPv4 addresses of a process's UDP sockets."""
    links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()]
    own = {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return {socket.inet_ntoa(bytes.fromhex(row[1][:8])[::-1]) for row in rows if row[9] in own}


def test_it_stays_on_this_machine(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(5))
    addresses: set[str] = set()

    def look(kind: str, count: int) -> None:
        if kind == "label" and count == 1:
            addresses.update(*map(udp_addresses, children()))

    replay_live(bag, options(tiny_model), on_event=look)
    # the second one is discovery's multicast group, which is joined on the loopback interface only
    assert addresses == {"127.0.0.1", "239.255.0.1"}


def test_large_raw_images_arrive(tmp_path: Path, tiny_model: ModelFile) -> None:
    messages = painted_messages(8, size_hw=(1024, 2048), labels=False, compressed=False)
    live = replay_live(write_messages(tmp_path / "bag", messages), options(tiny_model, rate=0.3))
    assert live.figures()["frames"] == {"published": 8, "segmented": 8, "dropped": 0, "bad": 0, "dropped_by_cause": {}}


def test_rate_max_waits_for_each_answer_and_a_corrupt_jpeg_is_counted_as_bad(
    tmp_path: Path, tiny_model: ModelFile
) -> None:
    messages = painted_messages(NUM_FRAMES)
    broken = next(i for i, m in enumerate(messages) if m[0] == IMAGE_TOPIC and m[1] == stamp_ns(6))
    data = np.asarray(messages[broken][2].data)[:150]
    messages[broken] = (IMAGE_TOPIC, stamp_ns(6), TYPES[COMPRESSED_IMAGE](header(stamp_ns(6)), "jpeg", data))
    result = replay_live(write_messages(tmp_path / "bag", messages), options(tiny_model, rate=None))
    figures = result.figures()
    assert figures["frames"] == {
        "published": NUM_FRAMES,
        "segmented": NUM_FRAMES - 1,
        "dropped": 0,
        "bad": 1,
        "dropped_by_cause": {},
    }
    assert [index for index, latency in enumerate(result.latencies_ms) if latency is None] == [6]
    assert figures["miou"] > 0.8


def test_a_node_that_cannot_start_says_why(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(2))
    with pytest.raises(LiveReplayError, match=r"(?s)node process ended with exit code 1 .*num_threads.*-5"):
        replay_live(bag, options(tiny_model, parameters={"num_threads": -5}))
    assert not children()


@pytest.mark.parametrize("name", ["node", "replay.live.player", "replay.live.collector"])
def test_a_process_that_dies_ends_the_replay_at_once(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    bag, temporary = write_messages(tmp_path / "bag", painted_messages(200)), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    killed_s: list[float] = []

    def kill(kind: str, count: int) -> None:
        if kind == "label" and count == 3:
            os.kill(next(pid for pid, command in children().items() if f"lwseg_ros.{name}" in command), signal.SIGKILL)
            killed_s.append(time.monotonic())

    with pytest.raises(LiveReplayError, match=r"the .* process ended with exit code -9 before the replay was over"):
        replay_live(bag, options(tiny_model), on_event=kill)
    assert time.monotonic() - killed_s[0] < 8
    assert not children()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("moment", ["start", "work"])
def test_an_interrupted_command_leaves_no_process_behind_and_says_what_its_report_is_of(
    tmp_path: Path, tiny_model: ModelFile, moment: str
) -> None:
    bag, temporary = write_messages(tmp_path / "bag", painted_messages(400)), tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "lwseg_ros.cli", "replay", str(bag), "--model", str(tiny_model.path)]
    process = subprocess.Popen(
        [*command, "--backend", "onnxruntime", "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stderr is not None
    try:
        deadline_s, said = time.monotonic() + 60, ""
        while len(started := children(process.pid)) < 4:  # three, and the shell that removes their folder
            assert time.monotonic() < deadline_s, "the three processes did not start"
            time.sleep(0.02)
        while moment == "work" and not re.search(r" [1-9]\d*/400 ", said):
            said += process.stderr.read(1)
            assert process.poll() is None, said
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert not list(temporary.iterdir())
    if moment == "start":
        assert "lwseg replay: interrupted" in errors
        assert not (tmp_path / "out").exists()
        return
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    frames = figures["frames"]
    assert figures["partial"] is True
    assert figures["warnings"][0] == f"interrupted: this is of the first {frames['published']} of 400 images only"
    assert 0 < frames["segmented"] <= frames["published"] < 400
    assert frames["published"] == frames["segmented"] + frames["dropped"] + frames["bad"]
    assert figures["miou"] > 0.8


def test_images_follow_their_stamps_where_asked_for_and_long_gaps_are_cut(
    tmp_path: Path, tiny_model: ModelFile
) -> None:
    stamps_ns = [10**9 + seconds * 10**8 for seconds in (0, 2, 4, 64, 66)]  # 0.2 s each, but for one of 6 s
    messages = [
        (IMAGE_TOPIC, 10**9 + index, jpeg_message(np.full((48, 64, 3), 128, np.uint8), stamp))
        for index, stamp in enumerate(stamps_ns)
    ]
    bag = write_messages(tmp_path / "bag", messages)
    result = replay_live(bag, options(tiny_model, pace="stamps", max_gap_s=1.0))
    assert result.counts.segmented == 5
    assert result.rate_hz == pytest.approx(5.0, rel=0.3)
    (cut,) = result.warnings
    assert cut.startswith("the stamp of /cam/image/compressed jumps, back or by more than 1 s")
    assert "before 1 of its images" in cut


def test_why_frames_were_superseded_is_said_with_what_helps(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "a bag", painted_messages(90, size_hw=(480, 640), labels=False))
    result = replay_live(bag, options(tiny_model, rate=100.0))
    superseded = result.counts.dropped_by_cause["superseded in the node"]
    (said,) = result.warnings
    engine_ms, rate_hz = (float(number) for number in re.findall(r"(\d+\.\d) (?:ms a frame|images came)", said))
    assert said.startswith(f"{superseded} superseded: the engine takes ")
    assert engine_ms == pytest.approx(np.median(result.inference_ms), abs=0.06)
    # Faster than the bag's own pace; without an upper bound, since the player makes up for a first image that was late.
    assert rate_hz > 15
    assert said.endswith(f"`lwseg replay '{bag}' --offline -o DIR` for figures of all frames")


def test_the_rate_of_what_was_superseded_is_of_when_it_went_out(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(np.array([4.0, 90.0, 6.0]).tobytes())
    what_happened = LiveRecording(tmp_path / "spool")
    what_happened.published = [Published(index, index, 10**9 + index * 20_000_000) for index in range(6)]
    what_happened.received["inference_time"] = [Received(0, 8 * index, 8) for index in range(3)]
    counts = FrameCounts(6, 3, 3, 0, {"superseded in the node": 3})
    (said,) = run.superseded_in_words(counts, what_happened, Path("a bag"))
    assert said.startswith("3 superseded: the engine takes 6.0 ms a frame, and 50.0 images came a second;")
    assert run.superseded_in_words(replace(counts, dropped_by_cause={}), what_happened, Path("a bag")) == []


def test_a_disk_without_room_for_the_answers_is_said(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(5))
    monkeypatch.setattr(run, "LiveRecording", lambda path: LiveRecording(Path("/dev/full")))
    with pytest.raises(SpoolError, match=r"cannot be written to /dev/full: No space left on device; .* with --spool"):
        replay_live(bag, options(tiny_model))
    assert not children()
    usage = shutil.disk_usage(tmp_path)._replace(free=(1 << 30) + 2 * 48 * 64 * 5 - 1)
    monkeypatch.setattr(recording.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SpoolError, match=rf"take about 0\.0 GB .* and {tmp_path} has 1\.1 GB free"):
        replay_live(bag, options(tiny_model, spool=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_the_command_writes_the_report(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(NUM_FRAMES))
    record = tmp_path / "recorded.mcap"
    command = [sys.executable, "-m", "lwseg_ros.cli", "replay", str(bag), "--model", str(tiny_model.path), "--json"]
    done = subprocess.run(
        [*command, "--backend", "onnxruntime", "--rate", "2.0", "--record", str(record), "-o", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads((tmp_path / "out" / "report.json").read_text())
    assert figures["frames"]["segmented"] == NUM_FRAMES
    assert figures["rate_hz"] == pytest.approx(30.0, rel=0.2)
    with AnyReader([record]) as reader:
        assert reader.topics["/segment/label"].msgcount == reader.topics[IMAGE_TOPIC].msgcount == NUM_FRAMES
    assert "latency, median" in (tmp_path / "out" / "report.html").read_text()


def test_jumps_of_log_time_are_not_waited_for_and_illegal_names_are_replaced(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # before /clock came, in order, a gap of a day, back to the start, and twice the same
    log_times_s = [0.0, 1.7e9, 1.7e9 + 0.1, 1.7e9 + 86400, 1.0, 1.1, 1.1]
    messages = []
    for index, log_s in enumerate(log_times_s):
        for topic, _, message in painted_messages(index + 1)[3 * index :]:
            messages.append((f"/0{topic.replace('cam', 'cam-1')}", int(log_s * 10**9), message))
    # asked for by the vehicle that it was recorded on
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_of_a_vehicle_cpp")
    bag = write_messages(tmp_path / "bag", messages)
    start_s = time.monotonic()
    result = replay_live(bag, options(tiny_model))
    assert time.monotonic() - start_s < 60
    figures = result.figures()
    assert figures["frames"] == {"published": 7, "segmented": 7, "dropped": 0, "bad": 0, "dropped_by_cause": {}}
    assert figures["miou"] > 0.8
    middleware, name, jumps = figures["warnings"]
    assert middleware.startswith("RMW_IMPLEMENTATION=rmw_of_a_vehicle_cpp is not installed")
    assert name.startswith("/0/cam-1/image/compressed was played as /_0/cam_1/image/compressed")
    assert "stands still before 4 of its images" in jumps
