"""`lwseg compare`: each recipe trained without a sequence and evaluated on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lwseg_training.config.recipe import load_recipe, resolve_recipe
from lwseg_training.distributed import Process
from lwseg_training.experiments.cross_validation import HeldOutRun, comparison_table, run_held_out
from support.camvid_miniature import write_recipe

from lwseg_ros.cli import main


def test_the_table_has_a_mean_only_where_all_sequences_are_done() -> None:
    runs = [
        HeldOutRun("ours", "0006R0", 0.5, 0.9, 100, 1800.0, "cpu"),
        HeldOutRun("pilot", "0006R0", 0.4, 0.9, 100, 900.0, "cpu"),
        HeldOutRun("ours", "0001TP", 0.6, 0.9, 120, 1800.0, "cpu"),
    ]
    assert comparison_table(runs).splitlines() == [
        "| recipe | without 0006R0 | without 0001TP | mean | steps | hours | device |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| ours | 0.500 | 0.600 | 0.550 | 100/120 | 1.0 | cpu |",
        "| pilot | 0.400 |  |  | 100 | 0.2 | cpu |",
    ]


def test_compares_recipes_and_reads_finished_runs(
    miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = [
        write_recipe(tmp_path / f"{name}.yaml", schedule={"steps": 2}, seed=seed) for seed, name in enumerate("ab")
    ]
    command = ["compare", *map(str, recipes), "--hold-out", "0006R0", "0001TP", "--data", str(miniature)]
    command += ["--out", str(tmp_path / "out"), "--set", "batch_size=3"]
    assert main(command) == 0
    runs = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [(run["recipe"], run["sequence"]) for run in runs] == [
        ("a", "0006R0"),
        ("b", "0006R0"),
        ("a", "0001TP"),
        ("b", "0001TP"),
    ]
    for run in runs:
        summary = json.loads((tmp_path / "out" / run["recipe"] / run["sequence"] / "summary.json").read_text())
        assert summary["evaluated_on"] == f"held out {run['sequence']}"
        assert summary["recipe"]["batch_size"] == 3
        assert run["miou"] == summary["last"]["miou"]
    assert (tmp_path / "out" / "comparison.md").read_text().count("\n") == 4

    trained = (tmp_path / "out" / "a" / "0006R0" / "last.pt").stat().st_mtime_ns
    summary_file = tmp_path / "out" / "a" / "0006R0" / "summary.json"
    summary = json.loads(summary_file.read_text())
    del summary["recipe"]["network"]["warm_start"]  # as an earlier version wrote it
    summary_file.write_text(json.dumps(summary))
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == runs
    assert (tmp_path / "out" / "a" / "0006R0" / "last.pt").stat().st_mtime_ns == trained


PUBLISHED = Path(__file__).parents[3] / "docs" / "held_out"
"""Runs of an earlier version, whose summaries have its keys: `judged_on`, `dataset.leave_out` and others."""


@pytest.mark.parametrize("name", ["dwrseg_b_camvid_short", "lemore_camvid_short"])
def test_summaries_of_an_earlier_version_are_read(name: str, tmp_path: Path) -> None:
    folder = PUBLISHED / name / "0006R0"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["judged_on"] == "left out 0006R0"
    recipe = load_recipe(resolve_recipe(name))
    # There is no data set: whatever is not read would have to be trained.
    run = run_held_out(name, recipe, "0006R0", tmp_path, folder, Process(0, 1, torch.device("cpu")))
    assert run.miou == summary["last"]["miou"]
    assert (run.steps, run.device) == (summary["steps"], summary["device"])


def test_several_processes_compare_as_one(miniature: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "a.yaml", schedule={"steps": 2})
    command = ["-m", "lwseg_ros.cli", "compare", str(recipe), "--hold-out", "0006R0", "--data", str(miniature)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, *command, "--out", str(tmp_path / "out"), "--device", "cpu"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "out" / "comparison.json").read_text())) == 1
    assert done.stdout.count("| a |") == 1, "one process prints the table"


def test_what_cannot_begin_leaves_nothing_behind(
    miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(write_recipe(tmp_path / "a.yaml")), "--data", str(miniature), "--hold-out"]
    (tmp_path / "file").write_text("")
    assert main([*command, "0006R0", "--out", str(tmp_path / "file")]) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert main([*command, "0005VD", "--out", str(tmp_path / "out")]) == 1
    assert "no sequence ['0005VD'] in train; there are:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
