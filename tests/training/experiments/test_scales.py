"""`lwseg scales`: two scales of a trained network, alone and combined."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint, network_of, save_checkpoint, two_scale_network_of
from lwseg_training.engine.evaluation import evaluate_network
from lwseg_training.experiments.scales import COMBINATIONS, ScaleResult, compare_scales, scale_table
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks import on_two_scales
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.synergy import Synergy

from lwseg_ros.cli import main
from lwseg_ros.evaluation.metrics import UncertaintyMetrics

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(run_folder: Path) -> Path:
    return run_folder / "best.pt"


@pytest.fixture(scope="module")
def validation(miniature: Path) -> LabelledImages:
    return LabelledImages(load_splits(DatasetSection(), miniature)[1])


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> Synergy:
    return two_scale_network_of(load_checkpoint(checkpoint), 0.75)[1]


@pytest.fixture(scope="module")
def results(network: Synergy, validation: LabelledImages) -> list[ScaleResult]:
    return compare_scales(network, Normalize(), validation, CPU)


def test_every_combination_is_evaluated_as_a_network_that_makes_it(
    results: list[ScaleResult], network: Synergy, validation: LabelledImages
) -> None:
    assert [result.combine for result in results] == [*COMBINATIONS, "synergy"]
    assert len({result.miou for result in results}) == len(COMBINATIONS), "they differ"
    for result in results:
        alone = Synergy(network.trunk, low_scale=0.75, combine=result.combine)
        confusion = evaluate_network(alone, Normalize(), validation, CPU, "fp32").confusion
        assert result.miou == pytest.approx(confusion.miou, abs=1e-3)
        assert result.pixel_accuracy == pytest.approx(confusion.pixel_accuracy, abs=1e-3)
        assert result.per_class_iou["road"] == pytest.approx(confusion.per_class_iou[3], abs=1e-3)
        assert result.per_class_iou["fence"] is None, "the miniature has none"


@pytest.mark.parametrize("kind", ["least_confidence", "low_scale"])
def test_uncertainty_is_evaluated_as_the_model_file_of_the_synergy_gives_it(
    kind: str, results: list[ScaleResult], network: Synergy, validation: LabelledImages
) -> None:
    graph = InferenceGraph(network, Normalize(), 1.0, kind).eval()
    metrics = UncertaintyMetrics(11, 255, kind)
    with torch.no_grad():
        for index in range(len(validation)):
            image, label = validation[index]
            metrics.update(label, *(output[0].numpy() for output in graph(torch.from_numpy(image)[None])))
    (result,) = [r for r in results if (r.combine, r.uncertainty) == ("synergy", kind)]
    assert result.auroc == pytest.approx(metrics.auroc, abs=1e-3)
    if kind == "least_confidence":
        assert result.ece == pytest.approx(metrics.ece, abs=1e-3)
    else:
        assert result.ece is None


def test_the_trunk_runs_once_a_scale_and_image(network: Synergy, validation: LabelledImages) -> None:
    sizes: list[tuple[int, ...]] = []
    hook = network.trunk.register_forward_pre_hook(lambda _, images: sizes.append(tuple(images[0].shape)))
    compare_scales(network, Normalize(), validation, CPU)
    hook.remove()
    assert sorted(sizes) == [(1, 3, 48, 72)] * 3 + [(1, 3, 64, 96)] * 3


def test_two_scales_leaves_a_synergy_its_scale(network: Synergy, checkpoint: Path) -> None:
    assert on_two_scales(network).low_scale == 0.75
    assert on_two_scales(network).trunk is network.trunk
    assert on_two_scales(network, 0.25).low_scale == 0.25
    _, plain = network_of(load_checkpoint(checkpoint))
    assert on_two_scales(plain).low_scale == 0.5
    assert on_two_scales(plain).trunk is plain


def test_the_table_leaves_out_what_does_not_exist() -> None:
    rows = [
        ScaleResult("high", "least_confidence", 0.5, 0.9, 0.0125, 0.75, {}),
        ScaleResult("synergy", "low_scale", 0.625, 0.9, None, None, {}),
    ]
    assert scale_table(rows).splitlines() == [
        "| prediction | mIoU | pixel accuracy | uncertainty | ECE | AUROC of errors |",
        "| --- | --- | --- | --- | --- | --- |",
        "| high scale alone | 0.5000 | 0.9000 | least_confidence | 0.0125 | 0.7500 |",
        "| synergy (equation 1) | 0.6250 | 0.9000 | low_scale |  |  |",
    ]


def test_the_command_prints_and_writes(
    checkpoint: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["scales", str(checkpoint), "--data", str(miniature), "--device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "dwrseg_b, 60 steps, low scale 0.5; camvid val, 3 images (validation figures)" in printed.out
    assert "3/3" in printed.err, "progress"
    assert (tmp_path / "out" / "scales.md").read_text() == printed.out
    written = json.loads((tmp_path / "out" / "scales.json").read_text())
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert (written["split"], written["images"], len(written["rows"])) == ("val", 3, 6)

    assert main([*command, "--split", "train", "--low-scale", "0.75", "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert (other["split"], other["images"], other["low_scale"]) == ("train", 9, 0.75)
    same = [np.isclose(a["miou"], b["miou"]) for a, b in zip(other["rows"], written["rows"], strict=True)]
    assert not all(same)


def test_the_command_refuses_what_makes_no_sense(
    checkpoint: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["scales", str(checkpoint), "--data", str(miniature), "--device", "cpu"]
    assert main([*command, "--low-scale", "2"]) == 1
    assert "low_scale 2.0 is not above 0 and below 1; choose another --low-scale" in capsys.readouterr().err
    assert main([*command, "--split", "moon"]) == 1
    assert "moon" in capsys.readouterr().err
    state = load_checkpoint(checkpoint)
    state["recipe"]["inference"] = {"window_hw": [32, 32]}
    save_checkpoint(tmp_path / "windows.pt", state)
    assert main(["scales", str(tmp_path / "windows.pt"), *command[2:]]) == 1
    assert "resume the run with inference.window_hw=null" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([*command, "-o", str(tmp_path / "file")]) == 1
    assert "choose another --output" in capsys.readouterr().err
