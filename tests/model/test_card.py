"""The model card: each figure stands beside what it is of, and what the file does not say is said to be missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.tiny_model import ACCEPTANCE, tiny_manifest

from lwseg_ros.datasets import CLASSIFICATION_DATASETS, DATASETS, PROVENANCES
from lwseg_ros.model.card import miou_of, model_card
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.model.precisions import ModelPrecisions

FIGURES = {"miou": 0.71234, "pixel_accuracy": 0.93, "ece": 0.0123, "auroc": 0.91}
HELD_OUT = {
    "sequences": {"0006R0": {"images": 101, **FIGURES, "miou": 0.5}, "0001TP": {"images": 62, **FIGURES, "miou": 0.6}},
    "mean": {"miou": 0.55},
}
RECIPE = {
    "network": {"name": "tiny", "pretrained": "imagenet"},
    "dataset": {"name": "camvid", "train_split": "train", "validation_split": "val", "held_out": []},
    "auxiliary": {"dataset": "folder", "root": "/somebody/photos", "share": 0.25},
    "distillation": {"teacher": "runs/teacher/last.pt"},
}
FULL = {
    "dataset": "camvid",
    "training": {"commit": "abc", "steps": 7, "seconds": 5400.0, "recipe": RECIPE},
    "validation": {"split": "val", "images": 101, **FIGURES},
    "held_out": HELD_OUT,
    "acceptance": {
        **ACCEPTANCE,
        "crossed": {"0006R0": {"share": 0.42, "error_rate": 0.0065, "not_met": ["tree"]}, "0001TP": {"share": 0.3}},
    },
}


def card(model: ModelFile, **fields: Any) -> str:
    return model_card("tiny", ModelPrecisions(replace(model, manifest=replace(tiny_manifest(), **fields))))


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_figures_say_what_they_are_of(tiny_model: ModelFile) -> None:
    figures = section(card(tiny_model, **FULL), "Figures")
    assert "| validation, `val` | 101 | 0.7123 | 0.9300 | 0.0123 | 0.9100 |" in figures
    assert "| `0006R0`, held out | 101 | 0.5000 |" in figures
    assert "| mean of those held out | 163 | 0.5500 | not measured |" in figures
    assert "`val` is one clip of the recording 0016E5" in figures
    assert miou_of(replace(tiny_manifest(), **FULL)) == {"validation": 0.71234, "held out": 0.55}


def test_what_was_trained_on_is_no_validation(tiny_model: ModelFile) -> None:
    recipe = RECIPE | {"dataset": {"name": "camvid", "train_split": ["train", "val"]}}
    text = card(tiny_model, **FULL | {"training": {"recipe": recipe}})
    assert "| validation, `val` (trained on) |" in text
    assert "- Validation: these images were trained on too" in text
    assert "0016E5" not in section(text, "Figures")
    assert miou_of(replace(tiny_manifest(), **FULL | {"training": {"recipe": recipe}}))["validation"] is None
    exported = {"validation": FULL["validation"] | {"split": "val (trained on)"}}
    assert section(card(tiny_model, **FULL | {"training": {"recipe": recipe}} | exported), "Figures") == section(
        text, "Figures"
    )


def test_calibration_says_what_it_was_fitted_to(tiny_model: ModelFile) -> None:
    assert "fitted on the held-out sequences" in section(card(tiny_model, **FULL), "Calibration")
    assert "fitted on the validation split" in section(card(tiny_model, **FULL | {"held_out": {}}), "Calibration")
    seen = {"held_out": {}, "validation": {"split": "val (trained on)"}}
    assert "fitted on images that were trained on" in section(card(tiny_model, **FULL | seen), "Calibration")
    adopted = {"training": {"adopted": {"file": "theirs.onnx"}, "calibrated": False}}
    assert "not fitted to anything" in section(card(tiny_model, **adopted), "Calibration")
    assert "does not say" in section(card(tiny_model), "Calibration")
    assert "gives labels alone" in section(card(tiny_model, uncertainty_kind="none"), "Calibration")


def test_accepted_pixels_by_class_and_crossed(tiny_model: ModelFile) -> None:
    accepted = section(card(tiny_model, **FULL), "Accepted pixels")
    assert "stays under 0.1, with a confidence of 0.9" in accepted
    assert "| tree | 20 |" in accepted
    assert "| car | never accepted |" in accepted
    assert "| `0006R0` | 0.4200 | 0.0065 | `tree` |" in accepted
    assert "| `0001TP` | 0.3000 | not measured | not measured |" in accepted
    assert section(card(tiny_model), "Accepted pixels").strip().startswith("None:")


def test_everything_that_the_weights_are_made_of_has_its_terms(tiny_model: ModelFile) -> None:
    terms = section(card(tiny_model, **FULL), "Data and terms")
    assert "Images: CamVid. G. J. Brostow" in terms
    assert "**free for research use, with this citation**" in terms
    assert "trained on ImageNet-1K." in terms
    assert "More images (`photos`): `folder`; source and terms are not recorded" in terms
    assert "Teacher that it learned from: `runs/teacher/last.pt`; source and terms are not recorded" in terms
    assert "Images: `painted colours`; source and terms are not recorded" in card(tiny_model)


def test_a_conversion_stands_beside_what_it_was_made_of(tiny_model: ModelFile) -> None:
    figures = {"openvino": {"miou": 0.5, "miou_change": -0.0012, "equal_labels": 0.99123}}
    manifest = replace(tiny_manifest(precision="int8"), parent={"sha256": tiny_model.sha256, "runtimes": figures})
    converted = replace(tiny_model, path=tiny_model.path.with_name("tiny.int8.onnx"), manifest=manifest)
    files = section(model_card("tiny", ModelPrecisions(tiny_model, {"int8": converted})), "Files")
    assert "| `tiny.onnx` | fp32 |" in files
    assert "| `tiny.int8.onnx` | `openvino` | 0.5000 | -0.0012 | 0.9912 |" in files


@pytest.mark.parametrize("odd", [None, 7, "text", [1], {"recipe": 3}, {"mean": "high", "sequences": {"a": None}}])
def test_what_others_wrote_into_free_fields_ends_in_a_card(tiny_model: ModelFile, odd: Any) -> None:
    nested = {"recipe": odd, "split": odd, "miou": odd, "seconds": odd, "mean": odd, "sequences": {"a": odd}}
    fields = {"training": nested, "validation": nested, "held_out": nested}
    assert section(card(tiny_model, **fields), "Limits")
    assert miou_of(replace(tiny_manifest(), **fields)) == {"validation": None, "held out": None}


def test_names_are_no_markup(tiny_model: ModelFile) -> None:
    text = card(tiny_model, validation={"split": "a`|<b>\n\x1b"})
    assert "| validation, `a'\\|<b>\\n\\x1b` |" in text


def test_each_published_data_set_says_where_it_comes_from() -> None:
    of_users = {"folder", "image_folder"}
    assert PROVENANCES.keys() == (DATASETS.keys() | CLASSIFICATION_DATASETS.keys()) - of_users
    assert all(known.title and known.source and known.terms for known in PROVENANCES.values())
