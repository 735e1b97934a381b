"""The benchmarks' own arithmetic, and that a failed one is told from a finished one. The timing itself is `make bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lwseg_training.config.recipe import load_recipe, resolve_recipe
from support.conversions import copied, write_conversion

from benchmarks import __main__ as summary
from benchmarks import inference, precisions, training_loader
from benchmarks.program import comparison, round_ratio
from lwseg_ros.datasets import load_split, read_pair
from lwseg_ros.evaluation.latency import take_turns
from lwseg_ros.model.model_file import ModelFile


def test_a_ratio_is_the_median_over_the_rounds_and_bears_one_disturbed_round() -> None:
    slower = [[2.0, 2.0, 9.0], [4.0], [40.0, 40.0]]
    faster = [[1.0], [2.0, 2.0, 2.0], [1.0, 1.0]]
    assert round_ratio(slower, faster) == 2.0


def test_contenders_take_turns_in_every_round() -> None:
    order: list[str] = []
    rounds = take_turns({name: lambda name=name: order.append(name) for name in "ab"}, turn_s=1e-4, rounds=3)
    assert {name: len(turns) for name, turns in rounds.items()} == {"a": 3, "b": 3}
    assert all(turn for turns in rounds.values() for turn in turns)
    turns = [first for first, second in zip(order, [*order[1:], ""], strict=True) if first != second]
    assert turns == ["a", "b"] * 3


def test_the_peak_is_that_of_the_best_trial() -> None:
    rate = inference.peak_multiply_adds_per_s(torch.float32, seconds=0.2)
    assert 1e9 < rate < 1e14


def test_noise_is_a_data_set_in_camvids_layout(tmp_path: Path) -> None:
    split = load_split("camvid", training_loader.write_noise(tmp_path, train=2, validation=1), "train")
    image, label = read_pair(*split.pairs[1])
    assert image.shape == (360, 480, 3)
    assert label.shape == (360, 480)
    assert label.max() <= 11


def test_each_part_of_the_schedule_is_a_stage_of_its_own() -> None:
    recipe = load_recipe(resolve_recipe(training_loader.RECIPE))
    assert recipe.early is not None
    stages = training_loader.stages_of(recipe)
    assert {name: stage.augmentation.crop_hw for name, stage in stages.items()} == {
        "early": recipe.early.crop_hw,
        "full size": recipe.augmentation.crop_hw,
    }
    assert all(stage.early is None for stage in stages.values())


@pytest.mark.parametrize("name", ["inference", "training_loader"])
def test_a_benchmark_that_cannot_run_says_why_and_fails(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark, option = {"inference": (inference, "--model"), "training_loader": (training_loader, "--recipe")}[name]
    assert benchmark.main([option, "nowhere", "--out", str(tmp_path)]) == 1
    assert f"{name}: no " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_precisions_are_told_as_multiples_of_the_fp32_file(tiny_model: ModelFile, tmp_path: Path) -> None:
    parent = copied(tiny_model, tmp_path)
    write_conversion(parent, "int8")
    figures = precisions.measure(str(parent.path), seconds=0.02, num_threads=1)
    rows = figures["contenders"]
    assert {
        "openvino, fp32 file",
        "openvino, int8 file",
        "openvino, fp32 file in fp32",
        "onnxruntime, int8 file",
    } <= rows.keys()
    assert rows["openvino, fp32 file"]["times_as_fast"] == 1
    assert rows["openvino, int8 file"]["precision"] == "int8"
    (row,) = figures["comparisons"]
    assert row["name"] == "openvino, int8 file times as fast as openvino, fp32 file"
    assert row["value"] == rows["openvino, int8 file"]["times_as_fast"]
    assert row["name"] in precisions.table(figures)


def test_a_network_that_is_not_registered_cannot_be_compared(tiny_model: ModelFile) -> None:
    assert inference.main(["--model", str(tiny_model.path)]) == 1


def test_the_summary_says_what_was_met_missed_and_not_run(tmp_path: Path) -> None:
    stale = tmp_path / "inference.json"
    stale.write_text("{}")
    assert summary.run_benchmark("inference", str(tmp_path / "none.onnx"), tmp_path) is None
    assert not stale.exists(), "figures of an earlier run are not taken for those of this one"
    rows = [
        {"benchmark": "live_latency", **comparison("live latency p50 vs engine p50", 1.7, "at most 1.5", False)},
        {"benchmark": "training_loader", **comparison("waits", 0.01, "under 0.05", True)},
    ]
    text = summary.table(
        {
            "date": "2026-01-01T00:00:00+00:00",
            "machine": summary.machine(),
            "libraries": {"numpy": "2"},
            "comparisons": json.loads(json.dumps(rows)),
            "failed": ["inference"],
        }
    )
    assert "| live_latency | live latency p50 vs engine p50 | 1.7 | at most 1.5 | missed |" in text
    assert "| training_loader | waits | 0.01 | under 0.05 | met |" in text
    assert "| inference | failed, see above |" in text
