"""Copy-and-paste: whole things with their labels, at their places, and never without being asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import PasteSection, parse_recipe
from lwseg_training.data.auxiliary import PARTIAL, AuxiliaryImages
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.data.paste import paste_things
from lwseg_training.data.samples import TrainingSamples
from support.camvid_miniature import CAR, POLE, miniature_recipe, write_miniature

from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.errors import RecipeError

HW = (20, 30)


def paste(
    donor_label: np.ndarray, classes: tuple[int, ...] = (2,), seed: int = 0, **settings: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Paste out of a donor of level 200 over an image of level 50 and class 7, by default everything at its place."""
    section = PasteSection.model_validate(
        {"probability": 1, "classes": ["pole"], "things": 1, "max_share": 1, "shift": 0, **settings}
    )
    image, label = np.full((*HW, 3), 50, np.uint8), np.full(HW, 7, np.uint8)
    donor = np.full((*donor_label.shape, 3), 200, np.uint8)
    given = image.copy(), label.copy()
    result = paste_things(image, label, donor, donor_label, classes, section, np.random.default_rng(seed))
    assert np.array_equal(image, given[0])
    assert np.array_equal(label, given[1])
    assert np.array_equal(result[0][..., 0] == 200, result[1] != 7), "pixels and labels go together"
    return result


def poles() -> np.ndarray:
    """Three poles of class 2, the second with a corner of its box in another class, and a car of class 8."""
    label = np.zeros(HW, np.uint8)
    label[2:12, 3], label[4:10, 10:12], label[1:3, 20:24] = 2, 2, 2
    label[4, 10] = 5
    label[15:19, 5:25] = 8
    return label


def test_things_keep_their_place_and_other_classes_stay_behind() -> None:
    _, label = paste(poles())
    assert np.array_equal(label == 2, poles() == 2)
    assert set(np.unique(label)) == {2, 7}
    _, label = paste(poles(), classes=(2, 8))
    assert np.array_equal(label == 8, poles() == 8)


def test_a_thing_that_covers_too_much_is_not_pasted() -> None:
    _, label = paste(poles(), classes=(2, 8), max_share=79 / 600)
    assert set(np.unique(label)) == {2, 7}
    assert set(np.unique(paste(poles(), classes=(2, 8), max_share=80 / 600)[1])) == {2, 7, 8}


def test_each_thing_is_chosen_by_itself() -> None:
    seen = {
        tuple(bool((label[box] == 2).any()) for box in (np.s_[:, :6], np.s_[:, 8:14], np.s_[:, 18:]))
        for label in (paste(poles(), seed=seed, things=0.5)[1] for seed in range(60))
    }
    assert len(seen) == 8


def test_things_move_whole_and_are_cut_at_the_borders() -> None:
    """A shift of 1 is the image's shorter side, which moves some things out altogether."""
    single = np.zeros(HW, np.uint8)
    single[8:12, 13:17] = 2
    moved = {int((paste(single, seed=seed, shift=0.2)[1] == 2).sum()) for seed in range(40)}
    assert moved == {16}
    sizes = {int((paste(single, seed=seed, shift=1)[1] == 2).sum()) for seed in range(200)}
    assert {0, 16} < sizes
    rows = [np.flatnonzero((paste(single, seed=seed, shift=0.2)[1] == 2).any(axis=1))[0] for seed in range(60)]
    assert 4 <= min(rows) < 6
    assert 10 < max(rows) <= 12


def test_a_donor_of_another_size_is_brought_to_the_images() -> None:
    _, label = paste(np.kron(poles(), np.ones((2, 2), np.uint8)))
    assert np.array_equal(label == 2, poles() == 2)


def samples_of(root: Path, **changes: Any) -> TrainingSamples:
    recipe = parse_recipe(miniature_recipe(**changes))
    own = LabelledImages(load_splits(recipe.dataset, root)[0])
    others = AuxiliaryImages(recipe.auxiliary, CAMVID_CLASSES) if recipe.auxiliary is not None else None
    return TrainingSamples(own, recipe, 10, others)


PLAIN = {"crop_hw": [64, 96], "flip": 0.0}
PASTE = {"probability": 0.5, "classes": ["pole", "car"], "max_share": 0.2}


def test_half_of_the_samples_get_things_and_depend_on_their_number_alone(miniature: Path) -> None:
    plain, pasting = (
        samples_of(miniature, augmentation=PLAIN),
        samples_of(miniature, augmentation={**PLAIN, "paste": PASTE}),
    )
    again = samples_of(miniature, augmentation={**PLAIN, "paste": PASTE})
    changed = 0
    for number in reversed(range(90)):
        image, label = pasting[number]
        assert torch.equal(image, again[number][0])
        before = plain[number][1]
        pasted = label != before
        changed += bool(pasted.any())
        assert set(label[pasted].tolist()) <= {POLE, CAR}
    assert 25 <= changed <= 60


def test_auxiliary_images_get_things_of_ours_whose_class_is_certain(miniature: Path, tmp_path: Path) -> None:
    root = write_miniature(tmp_path, train=3, size_hw=(80, 100))
    auxiliary = {
        "dataset": "camvid",
        "root": str(root),
        "classes": {"sky": "sky", "road": "road"},
        "unlabelled": ["pole", "car"],
        "share": 0.5,
    }
    samples = samples_of(
        miniature, augmentation={**PLAIN, "paste": {**PASTE, "probability": 1.0}}, auxiliary=auxiliary, batch_size=2
    )
    labels = [samples[number][1] for number in range(1, 20, 2)]
    certain = {value for label in labels for value in label.unique().tolist() if value < 255}
    assert certain == {POLE, CAR}
    assert all((label >= PARTIAL).any() for label in labels)


def test_a_class_that_is_not_there_is_refused(miniature: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"augmentation\.paste\.classes: no class 'lamp'; there are: sky, building, pole"
    ):
        samples_of(miniature, augmentation={**PLAIN, "paste": {**PASTE, "classes": ["pole", "lamp"]}})
