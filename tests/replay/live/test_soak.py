"""Soaks of seconds, with the real node and its driver in processes of their own; and what happens when one of them fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.bag_files import COMPRESSED_IMAGE, TYPES, header, painted_messages, stamp_ns, write_messages
from support.child_processes import children

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.live.process_group import LiveReplayError, ProcessGroup
from lwseg_ros.replay.live.soak import SoakOptions, run_soak
from lwseg_ros.replay.soak_results import Sample

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install 'lwseg_ros[ros]'")
pytestmark = pytest.mark.integration

SECONDS = 4.0


def options(model: ModelFile, **changes: object) -> SoakOptions:
    return SoakOptions(**{"model": model.path, "backend": "onnxruntime", "minutes": SECONDS / 60, **changes})  # type: ignore[arg-type]


def pid_of(module: str) -> int:
    return next(pid for pid, command in children().items() if module in command)


@pytest.mark.parametrize(("compressed", "rate_hz"), [(True, 15.0), (False, 40.0)])
def test_the_bag_goes_round_and_every_image_is_accounted_for(
    tmp_path: Path, tiny_model: ModelFile, compressed: bool, rate_hz: float
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(5, compressed=compressed))
    seen: list[Sample] = []
    result = run_soak(options(tiny_model, rate_hz=rate_hz), bag=bag, on_sample=seen.append)
    assert result.faults == []
    counts = result.counts
    assert counts.published > 20  # the bag holds five; a busy machine may skip some
    assert counts.published == counts.segmented + sum(counts.dropped.values()) + counts.lost
    assert counts.labels == counts.uncertainties == counts.segmented == len(result.latencies_ms) > 0
    assert set(counts.dropped) == {"rate_limited", "superseded", "stale", "bad", "error", "inactive"}
    assert SECONDS <= result.duration_s < SECONDS + 2
    assert list(result.samples) == seen
    assert len(seen) >= 2
    assert all(sample.threads > 1 and sample.handles > 3 and sample.rss_mb > 20 for sample in seen)
    assert seen[-1].cpu_percent is not None
    assert min(result.latencies_ms) > 0
    assert result.diagnostics["backend"] == "onnxruntime"
    assert sum(result.levels.values()) >= 3
    assert not children()


def test_a_bad_image_in_the_bag_is_counted_in_each_round(tmp_path: Path, tiny_model: ModelFile) -> None:
    messages = painted_messages(3)
    for index, (topic, log_ns, message) in enumerate(messages):
        if message.__msgtype__ == COMPRESSED_IMAGE and log_ns == stamp_ns(1):
            cut = TYPES[COMPRESSED_IMAGE](header(log_ns), "jpeg", np.asarray(message.data)[:150])
            messages[index] = (topic, log_ns, cut)
    result = run_soak(options(tiny_model), bag=write_messages(tmp_path / "bag", messages))
    assert result.faults == []
    assert result.counts.dropped["bad"] > 2
    assert result.levels["warning"] > 0
    assert any("bad frames" in complaint for complaint in result.complaints)


@pytest.mark.parametrize(("module", "name"), [("lwseg_ros.node", "node"), ("soak_driver", "soak_driver")])
def test_a_process_that_is_killed_is_told_with_the_figures_so_far(
    tmp_path: Path, tiny_model: ModelFile, module: str, name: str
) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(5))
    killed_s: list[float] = []

    def kill(sample: Sample) -> None:
        if sample.labels > 5 and not killed_s:
            os.kill(pid_of(module), signal.SIGKILL)
            killed_s.append(time.monotonic())

    result = run_soak(options(tiny_model, minutes=10), bag=bag, on_sample=kill)
    assert time.monotonic() - killed_s[0] < 60
    assert result.failure.startswith(f"the {name} process ended with exit code -9 before the soak was over")
    assert result.faults == [result.failure]
    assert result.figures()["partial"]
    assert result.counts.labels > 5
    assert result.samples
    assert not children()


def test_images_lost_while_the_node_stands_still_are_counted_as_lost(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(5))
    stopped: list[int] = []

    def stop_for_a_while(sample: Sample) -> None:
        if sample.labels > 5 and not stopped:
            stopped.append(pid_of("lwseg_ros.node"))
            os.kill(stopped[0], signal.SIGSTOP)
            time.sleep(1.5)
            os.kill(stopped[0], signal.SIGCONT)

    result = run_soak(options(tiny_model, rate_hz=60.0), bag=bag, on_sample=stop_for_a_while)
    assert stopped
    assert result.faults == []
    assert result.counts.lost > 0
    assert result.figures()["frames"]["lost_in_transport"] == result.counts.lost


def test_a_node_that_cannot_start_says_why(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(2))
    with pytest.raises(LiveReplayError, match=r"(?s)node process ended with exit code 1 .*num_threads.*-5"):
        run_soak(options(tiny_model, parameters={"num_threads": -5}), bag=bag)
    assert not children()


BROKEN = {
    "lwseg_ros.node.publishers.CameraPublishers.publish = lambda *_: None": "images and 0 labels came",
    "lwseg_ros.node.statistics.FrameStatistics.add_arrival = lambda *_, **__: None": "the node received 0 images and accounts for",
    "run = lwseg_ros.node.__main__.main; lwseg_ros.node.__main__.main = lambda argv: run(argv) or os._exit(7)": (
        "was told to end and did so with exit code 7"
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_node_that_is_broken_fails_the_soak(
    tmp_path: Path, tiny_model: ModelFile, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    code = (
        "import os, sys, lwseg_ros.node.__main__, lwseg_ros.node.publishers, lwseg_ros.node.statistics\n"
        f"{fault}\nsys.exit(lwseg_ros.node.__main__.main(sys.argv))"
    )
    start = ProcessGroup.start_program

    def start_broken(group: ProcessGroup, name: str, arguments: list[str]) -> None:
        start(group, name, ["-c", code, *arguments[2:]] if name == "node" else arguments)

    monkeypatch.setattr(ProcessGroup, "start_program", start_broken)
    result = run_soak(options(tiny_model), bag=write_messages(tmp_path / "bag", painted_messages(5)))
    assert BROKEN[fault] in result.faults[0]


def soak_command(model: ModelFile, out: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "lwseg_ros.cli", "soak"]
    return [*command, "--model", str(model.path), "--backend", "onnxruntime", "-o", str(out), *arguments]


def test_the_command_writes_figures_and_picture(tmp_path: Path, tiny_model: ModelFile) -> None:
    done = subprocess.run(
        soak_command(tiny_model, tmp_path / "new" / "out", "--minutes", "0.05", "--json"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    written = json.loads((tmp_path / "new" / "out" / "soak.json").read_text())
    assert written.pop("samples")["labels"]
    assert figures == written
    assert figures["source"].endswith("camvid_val_clip")
    assert (tmp_path / "new" / "out" / "soak.svg").read_text().startswith("<svg ")
    assert "of 3 s" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_with_the_figures_so_far(
    tmp_path: Path, tiny_model: ModelFile, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        soak_command(tiny_model, out, "--minutes", "30"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    try:
        while said.count(" labels, ") < 4:  # as many samples
            said += process.stderr.read(1)
            assert process.poll() is None
        started = children(process.pid)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert printed.startswith("partial: 0.")
    assert "lwseg soak: interrupted; the figures are partial" in errors
    figures = json.loads((out / "soak.json").read_text())
    assert (figures["partial"], figures["faults"]) == (True, [])
    assert figures["frames"]["published"] > 0
    assert len(started) == 3  # the node, its driver, and what removes their folder
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def test_a_signal_before_the_node_is_ready_leaves_nothing_behind(tmp_path: Path, tiny_model: ModelFile) -> None:
    process = subprocess.Popen(soak_command(tiny_model, tmp_path / "out"), stderr=subprocess.PIPE, text=True)
    try:
        deadline_s = time.monotonic() + 120
        while not (started := children(process.pid)):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "lwseg soak: interrupted" in errors
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert not list((tmp_path / "out").iterdir())
