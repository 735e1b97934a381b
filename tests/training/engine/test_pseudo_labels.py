"""Pseudo-labels: which pixels get one, and whose probability decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.pseudo_labels import class_thresholds, completed, open_labeller, pseudo_label
from lwseg_training.export.export import export_checkpoint

from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.errors import RecipeError

CPU = torch.device("cpu")


def test_each_class_has_its_threshold() -> None:
    thresholds = class_thresholds(CAMVID_CLASSES, 0.9, {"pole": 0.5})
    label = np.array([[0, 0, 2, 2, 11, 255]], np.uint8)
    probability = np.array([[0.9, 0.89, 0.5, 0.49, 1, 1]], np.float32)
    assert pseudo_label(label, probability, thresholds).tolist() == [[0, 255, 2, 255, 255, 255]]


@pytest.mark.parametrize(
    ("confidence", "of_classes", "message"),
    [
        (0.9, {"lamp": 0.5}, "confidence of classes: no class 'lamp'; there are: sky, building"),
        (1.1, {}, "the confidence of sky is 1.1; expected a probability"),
        (0.9, {"pole": -0.1}, "the confidence of pole is -0.1"),
        (float("nan"), {}, "the confidence of sky is nan"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(
    confidence: float, of_classes: dict[str, float], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        class_thresholds(CAMVID_CLASSES, confidence, of_classes)


def test_known_labels_stay_except_before_what_they_do_not_know() -> None:
    known = np.array([[1, 1, 1, 255, 255]], np.uint8)
    pseudo = np.array([[0, 2, 255, 0, 255]], np.uint8)
    assert completed(known, pseudo, [2]).tolist() == [[1, 2, 1, 0, 255]]
    assert completed(known, pseudo, []).tolist() == [[1, 1, 1, 0, 255]]


def test_a_checkpoint_and_its_model_file_agree(run_folder: Path, miniature: Path, tmp_path: Path) -> None:
    """The model file's probabilities are the checkpoint's after its temperature."""
    state = load_checkpoint(run_folder / "last.pt")
    model, calibration, _ = export_checkpoint(state, miniature, tmp_path / "model.onnx")
    image, ground_truth = LabelledImages(load_splits(DatasetSection(), miniature)[1])[0]
    with open_labeller(str(run_folder / "last.pt"), CPU) as labeller:
        assert [info.name for info in labeller.classes] == [info.name for info in CAMVID_CLASSES]
        label, probability = labeller.predict(image)
    assert (label[ground_truth != 255] == ground_truth[ground_truth != 255]).mean() > 0.7
    assert label.dtype == np.uint8
    assert probability.dtype == np.float32
    assert probability.min() >= 1 / 11
    assert probability.max() <= 1
    with open_labeller(str(model.path), CPU) as labeller:
        exported_label, exported_probability = labeller.predict(image)
    assert (exported_label == label).mean() > 0.99
    # odds of two classes: a temperature divides their logarithm, and leaves the order of pixels as it is, nearly
    assert exported_probability.min() >= 1 / 11 - 0.01
    assert np.corrcoef(exported_probability.ravel(), probability.ravel())[0, 1] > 0.95
    if calibration.temperature > 1:
        assert exported_probability.mean() < probability.mean() + 0.01
    else:
        assert exported_probability.mean() > probability.mean() - 0.01


def test_a_model_whose_uncertainty_is_no_probability_is_refused(
    run_folder: Path, miniature: Path, tmp_path: Path
) -> None:
    state = load_checkpoint(run_folder / "last.pt")
    model, _, _ = export_checkpoint(state, miniature, tmp_path / "model.onnx", uncertainty_kind="entropy")
    with (
        pytest.raises(RecipeError, match=r"model\.onnx is entropy, which tells no class's probability"),
        open_labeller(str(model.path), CPU),
    ):
        pass
