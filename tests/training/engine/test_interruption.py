"""Training that is killed, told to stop, resumed, or spread over processes: real `lwseg train` processes."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from support.camvid_miniature import miniature_recipe, write_recipe
from support.child_processes import children
from support.two_processes import statuses_and_errors, two_processes

ALONE = Process(0, 1, torch.device("cpu"))
# Bit-identical results are promised for one machine and one number of threads.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
TOTAL_STEPS = 100
VARIED: dict[str, Any] = {
    "augmentation": {"crop_hw": [48, 64], "scale": [0.5, 2.0], "noise": 5, "blur": 0.3, "class_mix": 0.5},
    "early": {"share": 0.3, "crop_hw": [32, 48], "scale": [0.4, 1.0]},
    "optimizer": {"kind": "muon", "lr": 0.002, "weight_decay": 0.02},
    "schedule": {"steps": TOTAL_STEPS, "warmup_steps": 5},
    "evaluate_every_epochs": 10,
    "checkpoint_every_steps": 4,
    "workers": 1,
}
START_TIMEOUT_S = 300
RUN_TIMEOUT_S = 900


def train_command(recipe: Path, data: Path, out: Path, *more: str) -> list[str]:
    places = ["--data", str(data), "--out", str(out), "--device", "cpu"]
    return [sys.executable, "-m", "lwseg_ros.cli", "train", str(recipe), *places, *more]


def interrupt(command: list[str], out: Path, number: signal.Signals, delay_s: float) -> tuple[int, str]:
    """Start training, signal all its processes some time after its next checkpoint, and return exit status and stderr."""
    last = out / "last.pt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    with subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not last.exists() or last.stat().st_mtime_ns == before:
            assert run.poll() is None, run.communicate()[1]
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.01)
        time.sleep(delay_s)
        workers = children(run.pid)
        assert workers, "no process prepares samples"
        for pid in (*workers, run.pid):  # all of them, as a batch system or a container's end does
            os.kill(pid, number)
        _, stderr = run.communicate(timeout=RUN_TIMEOUT_S)
    return run.returncode, stderr


def finished(command: list[str]) -> dict[str, Any]:
    """Train to the end and return the final checkpoint."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return load_checkpoint(Path(command[command.index("--out") + 1]) / "last.pt")


def logged(out: Path) -> list[dict[str, Any]]:
    """The run's log without what depends on the clock, and without losses: those average over the steps of one process."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    dropped = ("images_per_s", "loader_wait_share", "loss", "grad_norm")
    return [{name: value for name, value in entry.items() if name not in dropped} for entry in entries]


def test_killed_and_stopped_anywhere_it_ends_with_the_weights_of_a_run_left_alone(
    miniature: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "mini.yaml", **VARIED)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    expected = finished(train_command(recipe, miniature, whole))

    delays_s = [random.uniform(0, 0.3), random.uniform(0, 0.3)]
    print(f"signals sent {delays_s} s after a checkpoint")
    command = train_command(recipe, miniature, torn, "--resume")
    status, _ = interrupt(command, torn, signal.SIGKILL, delays_s[0])
    assert status == -signal.SIGKILL
    killed_at = load_checkpoint(torn / "last.pt")["step"]
    status, stderr = interrupt(command, torn, signal.SIGTERM, delays_s[1])
    stopped_at = load_checkpoint(torn / "last.pt")["step"]
    assert status == 1
    assert f"lwseg train: stopped at step {stopped_at} of {TOTAL_STEPS}; go on with --resume --out {torn}" in stderr
    assert "Traceback" not in stderr
    assert 0 < killed_at < stopped_at < TOTAL_STEPS, "too late: the run was over before it was interrupted"
    state = finished(command)

    assert state["step"] == expected["step"] == TOTAL_STEPS
    for part in ("network", "ema"):
        assert state[part].keys() == expected[part].keys()
        for key, value in expected[part].items():
            assert torch.equal(state[part][key], value), f"{part} {key}"
    moments, expected_moments = state["optimizer"]["state"], expected["optimizer"]["state"]
    assert moments.keys() == expected_moments.keys()
    for index, tensors in expected_moments.items():
        assert all(torch.equal(moments[index][name], value) for name, value in tensors.items()), index
    best, expected_best = load_checkpoint(torn / "best.pt"), load_checkpoint(whole / "best.pt")
    assert (best["step"], best["best_miou"]) == (expected_best["step"], expected_best["best_miou"])
    assert logged(torn) == logged(whole)


def test_processes_stop_after_the_same_step_when_one_is_told_to(miniature: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "mini.yaml", schedule={"steps": 5000}, checkpoint_every_steps=10)
    out = tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    runs = [
        subprocess.Popen(
            train_command(recipe, miniature, out),
            env={**ENVIRONMENT, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (out / "last.pt").exists():
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.02)
        runs[1].send_signal(signal.SIGTERM)
        errors = [run.communicate(timeout=RUN_TIMEOUT_S)[1] for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    stopped_at = load_checkpoint(out / "last.pt")["step"]
    assert [run.returncode for run in runs] == [1, 1], errors
    assert all(f"lwseg train: stopped at step {stopped_at} of 5000" in text for text in errors)
    assert not any("Traceback" in text for text in errors)


def test_a_batch_that_two_processes_cannot_share_is_refused(miniature: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "mini.yaml", batch_size=3)
    with two_processes(train_command(recipe, miniature, tmp_path / "run")) as runs:
        statuses, errors = statuses_and_errors(runs, RUN_TIMEOUT_S)
    assert statuses == [1, 1], errors
    refusal = "lwseg train: a batch of 3 cannot be shared out evenly among 2 processes"
    assert all(refusal in text for text in errors), errors


def test_another_seed_gives_other_weights(miniature: Path, tmp_path: Path) -> None:
    def weights(seed: int, folder: str) -> dict[str, torch.Tensor]:
        recipe = parse_recipe(miniature_recipe(schedule={"steps": 2}, seed=seed))
        fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / folder)
        return load_checkpoint(tmp_path / folder / "last.pt")["network"]

    first, same, other = weights(0, "a"), weights(0, "b"), weights(1, "c")
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["stem.first.0.weight"], other["stem.first.0.weight"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_handlers_are_put_back(number: signal.Signals, miniature: Path, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    fit(SegmentationTask(parse_recipe(miniature_recipe(schedule={"steps": 1})), miniature, ALONE), tmp_path / "run")
    assert signal.getsignal(number) is before
