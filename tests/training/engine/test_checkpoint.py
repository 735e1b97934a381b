"""Checkpoints: whole or not at all, and refused when they are not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.engine.checkpoint import CheckpointError, load_checkpoint, network_of, save_checkpoint

ENDLESS_SAVING = """
import itertools, sys
from pathlib import Path
import torch
from lwseg_training.engine.checkpoint import save_checkpoint
for number in itertools.count(1):
    save_checkpoint(Path(sys.argv[1]), {"number": number, "weights": torch.full((2_000_000,), float(number))})
    print(number, flush=True)
"""


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


def test_what_was_saved_is_loaded(run_folder: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run_folder / "last.pt")
    save_checkpoint(tmp_path / "copy.pt", without(state, "format_version"))
    again = load_checkpoint(tmp_path / "copy.pt")
    assert again.keys() == state.keys()
    assert all(torch.equal(again["network"][key], value) for key, value in state["network"].items())
    assert [path.name for path in tmp_path.iterdir()] == ["copy.pt"]


def test_killed_while_writing_it_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS_SAVING, str(path)], stdout=subprocess.PIPE, text=True
    ) as saver:
        assert saver.stdout is not None
        while saver.stdout.readline() != "3\n":
            assert saver.poll() is None
        deadline = time.monotonic() + 20
        while not any(tmp_path.glob(".last.pt.*")) and time.monotonic() < deadline:
            pass
        os.kill(saver.pid, signal.SIGKILL)
        done = [3, *map(int, saver.stdout.read().split())][-1]
    assert saver.returncode == -signal.SIGKILL
    state = torch.load(path, weights_only=True)
    assert state["number"] in (done, done + 1)
    assert torch.equal(state["weights"], torch.full((2_000_000,), float(state["number"])))


def test_a_failed_write_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"step": lambda: 2})
    assert torch.load(path, weights_only=True)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"no checkpoint .*nowhere\.pt; `lwseg train` writes last\.pt and best\.pt"
    ):
        load_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(share: float, run_folder: Path, tmp_path: Path) -> None:
    whole = (run_folder / "last.pt").read_bytes()
    path = tmp_path / "last.pt"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"last\.pt is not a readable checkpoint"):
        load_checkpoint(path)


def test_damaged_bytes_are_refused(run_folder: Path, tmp_path: Path) -> None:
    damaged = bytearray((run_folder / "last.pt").read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path = tmp_path / "last.pt"
    path.write_bytes(bytes(damaged))
    with pytest.raises(CheckpointError, match=r"last\.pt is not a readable checkpoint"):
        load_checkpoint(path)


def test_files_of_others_are_refused(run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    path.write_text("weights")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match=r"foreign\.pt is not a checkpoint of format 1 written by `lwseg train`"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="not a checkpoint of format 1"):
        load_checkpoint(path)
    state = load_checkpoint(run_folder / "last.pt")
    torch.save({**state, "format_version": 2}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of format 1"):
        load_checkpoint(path)
    torch.save(without(state, "classes"), path)
    with pytest.raises(CheckpointError, match=r"foreign\.pt lacks classes"):
        load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"format_version": 1, "step": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_the_network_is_rebuilt_with_its_averaged_weights(run_folder: Path) -> None:
    state = load_checkpoint(run_folder / "last.pt")
    recipe, network = network_of(state)
    assert recipe.network.name == "dwrseg_b"
    assert not network.training
    key = next(iter(state["ema"]))
    assert torch.equal(network.state_dict()[key], state["ema"][key])
    assert not torch.equal(state["ema"][key], state["network"][key])
    _, plain = network_of({**state, "ema": None})
    assert torch.equal(plain.state_dict()[key], state["network"][key])


def test_weights_that_are_not_the_recipes_are_refused(run_folder: Path) -> None:
    state = load_checkpoint(run_folder / "last.pt")
    with pytest.raises(CheckpointError, match="do not fit the network dwrseg_b"):
        network_of({**state, "ema": {}})
