"""Cross-fitted calibration: one temperature of what held-out runs had not seen, and their figures with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import load_checkpoint, save_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.experiments.cross_fitting import cross_fit
from lwseg_training.experiments.cross_validation import run_held_out
from lwseg_training.export.calibration import fit_temperature, sample_logits
from lwseg_training.export.export import CPU, export_checkpoint, uncalibrated_graph
from support.camvid_miniature import miniature_recipe

from lwseg_ros.cli import main
from lwseg_ros.errors import RecipeError
from lwseg_ros.model.model_file import load_model

ALONE = Process(0, 1, torch.device("cpu"))
SEQUENCES = ("0006R0", "0001TP")


@pytest.fixture(scope="module")
def runs(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on all sequences and its sisters without one each, which are in folders of those names."""
    out = tmp_path_factory.mktemp("cross")
    recipe = parse_recipe(miniature_recipe(schedule={"steps": 30, "warmup_steps": 2}))
    fit(SegmentationTask(recipe, miniature, ALONE), out / "all")
    for sequence in SEQUENCES:
        run_held_out("mini", recipe, sequence, miniature, out / sequence, ALONE)
    return out


def test_one_temperature_for_the_pixels_that_each_run_had_not_seen(miniature: Path, runs: Path) -> None:
    state = load_checkpoint(runs / "all" / "last.pt")
    fitted = cross_fit(state, [runs / sequence for sequence in SEQUENCES], miniature)
    samples = []
    for sequence in SEQUENCES:
        recipe, graph = uncalibrated_graph(load_checkpoint(runs / sequence / "last.pt"))
        assert recipe.dataset.held_out == (sequence,)
        samples.append(sample_logits(graph, LabelledImages(load_splits(recipe.dataset, miniature)[1]), CPU))
    assert fitted.calibration == fit_temperature(samples)
    assert fitted.calibration != fit_temperature(samples[:1])

    assert [*fitted.held_out["sequences"]] == [*SEQUENCES]
    for sequence, figures in fitted.held_out["sequences"].items():
        summary = json.loads((runs / sequence / "summary.json").read_text())
        assert figures["miou"] == pytest.approx(summary["last"]["miou"], abs=1e-4)
        assert figures["images"] == 3
        assert 0 < figures["ece"] < 1
        assert 0.5 < figures["auroc"] <= 1
    mean = fitted.held_out["mean"]
    for name in ("miou", "pixel_accuracy", "ece", "auroc"):
        first, second = (fitted.held_out["sequences"][sequence][name] for sequence in SEQUENCES)
        assert mean[name] == pytest.approx((first + second) / 2, abs=1e-5)


def test_the_uncertainty_low_scale_has_no_calibration_error(miniature: Path, runs: Path) -> None:
    state = load_checkpoint(runs / "all" / "last.pt")
    fitted = cross_fit(state, [runs / "0006R0"], miniature, uncertainty_kind="low_scale", low_scale=0.5)
    assert "ece" not in fitted.held_out["mean"]
    assert 0 < fitted.held_out["mean"]["auroc"] <= 1


def test_export_takes_the_temperature_and_tells_the_figures(
    miniature: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    command = ["export", str(runs / "all" / "last.pt"), "-o", str(path), "--data", str(miniature)]
    command += ["--cross-fit", *(str(runs / sequence) for sequence in SEQUENCES)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    manifest = load_model(path).manifest
    state = load_checkpoint(runs / "all" / "last.pt")
    fitted = cross_fit(state, [runs / sequence for sequence in SEQUENCES], miniature)
    assert manifest.temperature == fitted.calibration.temperature
    assert manifest.held_out == fitted.held_out
    assert manifest.acceptance == json.loads(json.dumps(fitted.acceptance))
    assert manifest.acceptance["blocks"] == {"0006R0": 1, "0001TP": 1}
    assert "accepted are uncertainties up to: none; of them at most 10% wrong, with a confidence of 90%" in printed
    assert "fitted on 2 blocks of images; never accepted: sky, building, " in printed
    assert manifest.validation["split"] == "val"
    assert "on held out 0006R0, 0001TP)" in printed
    miou = fitted.held_out["sequences"]["0001TP"]["miou"]
    assert f"held out 0001TP, by the run that had not seen it: mIoU {miou:.4f}, ECE 0." in printed
    assert f"held out, mean: mIoU {fitted.held_out['mean']['miou']:.4f}, ECE 0." in printed

    plain, calibration, _ = export_checkpoint(state, miniature, tmp_path / "plain.onnx")
    assert plain.manifest.held_out == {}
    assert plain.manifest.acceptance == {}
    assert calibration.temperature != fitted.calibration.temperature


def test_pixels_are_accepted_to_the_level_asked_for(
    miniature: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of such few blocks only a very weak claim can be made."""
    state, given = load_checkpoint(runs / "all" / "last.pt"), [runs / sequence for sequence in SEQUENCES]
    acceptance = cross_fit(state, given, miniature, level=0.9, confidence=0.3).acceptance
    assert (acceptance["level"], acceptance["confidence"]) == (0.9, 0.3)
    assert {*acceptance["thresholds"]} > {None}
    wrong = ["export", "last.pt", "-o", str(tmp_path / "model.onnx"), "--accept-level", "10"]
    assert main(wrong) == 2
    assert "'10' is not a number between 0 and 1, such as 0.1" in capsys.readouterr().err


def changed(path: Path, runs: Path, **changes: Any) -> Path:
    save_checkpoint(path, {**load_checkpoint(runs / "0006R0" / "last.pt"), **changes})
    return path


def test_runs_that_do_not_belong_are_refused(miniature: Path, runs: Path, tmp_path: Path) -> None:
    state = load_checkpoint(runs / "all" / "last.pt")
    own = load_checkpoint(runs / "0006R0" / "last.pt")["recipe"]

    def refused(*given: Path) -> str:
        with pytest.raises(RecipeError) as caught:
            cross_fit(state, given, miniature)
        return str(caught.value)

    assert "stands at step 7 of 30; finish it first" in refused(changed(tmp_path / "part.pt", runs, step=7))
    other = changed(tmp_path / "other.pt", runs, recipe={**own, "seed": 3})
    assert "another recipe than the checkpoint, differing: seed;" in refused(other)
    assert "is a second run without 0006R0" in refused(runs / "0006R0", runs / "0001TP", runs / "0006R0" / "last.pt")
    assert "holds out nothing; give runs that hold out one sequence" in refused(runs / "all")
    both = {**own, "dataset": {**own["dataset"], "held_out": list(SEQUENCES)}}
    assert "holds out the sequences 0006R0, 0001TP;" in refused(changed(tmp_path / "both.pt", runs, recipe=both))
    said = changed(tmp_path / "said.pt", runs, recipe={**own, "note": "on another machine", "workers": 5})
    assert cross_fit(state, [said], miniature) == cross_fit(state, [runs / "0006R0"], miniature)
