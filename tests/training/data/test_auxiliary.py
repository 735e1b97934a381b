"""Images of another label space beside a data set's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.data.augmentation import augment
from lwseg_training.data.auxiliary import PARTIAL, AuxiliaryImages
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.data.samples import AUXILIARY, TrainingSamples
from lwseg_training.distributed import Process
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from support.camvid_miniature import miniature_recipe

from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.errors import RecipeError

GREY = 77  # of the auxiliary images, all of one colour, by which they are known again
STREETS = """\
name: streets
classes: [sky, house, road]
splits: {train: {images: photos/*.png, labels: "labels/{name}.png"}}
"""


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    folder = tmp_path / "streets"
    for name in ("photos", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "dataset.yaml").write_text(STREETS)
    for number in range(3):
        label = np.repeat(np.array([0, 1, 2, 255], dtype=np.uint8), 12)[:, None].repeat(64, axis=1)
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), np.full((48, 64, 3), GREY + number, dtype=np.uint8))
        cv2.imwrite(str(folder / "labels" / f"{number}.png"), label)
    return folder


def recipe_with(streets: Path, auxiliary: dict[str, Any] | None = None, **changes: Any) -> Any:
    section = {"root": str(streets), "classes": {"sky": "sky", "house": "building"}, **(auxiliary or {})}
    return parse_recipe(miniature_recipe(auxiliary=section, **changes))


def test_labels_come_in_our_ids_and_what_is_not_named_is_ignored(streets: Path) -> None:
    section = recipe_with(streets, {"unlabelled": ["pole", "fence"]}).auxiliary
    images = AuxiliaryImages(section, CAMVID_CLASSES)
    _, label = images[1]
    assert [*label[::12, 0]] == [0, 1, 255, 255]
    assert [*images.training_label(label)[::12, 0]] == [PARTIAL, PARTIAL + 1, 255, 255]
    assert images.unlabelled == (2, 7)


def test_its_shares_of_our_classes_are_those_of_its_labels(streets: Path) -> None:
    images = AuxiliaryImages(recipe_with(streets, {"unlabelled": ["pole"]}).auxiliary, CAMVID_CLASSES)
    counts = np.bincount(np.concatenate([label.ravel() for _, label in images]), minlength=256)[: len(CAMVID_CLASSES)]
    assert images.frequencies(len(CAMVID_CLASSES)).tolist() == pytest.approx(list(counts / counts.sum()))


def test_a_shift_of_labels_that_leave_nothing_out_is_refused(streets: Path) -> None:
    with pytest.raises(RecipeError, match="prior_shift is for labels that leave classes unlabelled"):
        recipe_with(streets, {"prior_shift": 1.0})


def test_without_unlabelled_classes_its_labels_are_like_any(streets: Path) -> None:
    section = recipe_with(streets, {"classes": {}}).auxiliary
    images = AuxiliaryImages(section, CAMVID_CLASSES)  # sky and road have one name in both
    assert [*images.training_label(images[0][1])[::12, 0]] == [0, 255, 3, 255]


@pytest.mark.parametrize(
    ("auxiliary", "message"),
    [
        ({"classes": {"hut": "building"}}, "auxiliary.classes: no class 'hut'; there are: sky, house, road"),
        ({"classes": {"house": "shed"}}, "auxiliary.classes: no class 'shed'; there are: sky, building"),
        ({"unlabelled": ["cow"]}, "auxiliary.unlabelled: no class 'cow'"),
    ],
)
def test_classes_that_are_not_there_are_refused(streets: Path, auxiliary: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        AuxiliaryImages(recipe_with(streets, auxiliary).auxiliary, CAMVID_CLASSES)


def test_a_share_that_leaves_no_room_is_refused(streets: Path) -> None:
    with pytest.raises(RecipeError, match=r"auxiliary.share 0.9 of a batch of 2 leaves none for the data set"):
        recipe_with(streets, {"share": 0.9}, batch_size=2)


def test_each_batch_has_its_share_and_every_image_its_turn(streets: Path, miniature: Path) -> None:
    recipe = recipe_with(streets, {"share": 0.25, "unlabelled": ["pole"]}, batch_size=8)
    own = LabelledImages(load_splits(recipe.dataset, miniature)[0])
    samples = TrainingSamples(own, recipe, 6, AuxiliaryImages(recipe.auxiliary, CAMVID_CLASSES))
    alone = TrainingSamples(own, recipe.model_copy(update={"auxiliary": None}), 6)
    partial_at: Counter[int] = Counter()
    for number in range(48):
        step, place = divmod(number, 8)
        image, label = samples[number]
        assert label.dtype == torch.int16
        partial_at[place] += bool((label >= PARTIAL).any())
        if place < 6:  # the data set's own, in the order they have without the others
            other_image, other_label = alone[step * 6 + place]
            assert torch.equal(image, other_image)
            assert torch.equal(label.byte(), other_label)
    assert set(partial_at) == set(range(8))
    assert [place for place in range(8) if partial_at[place]] == [6, 7]


def test_its_labels_are_varied_as_ids_and_become_partial_afterwards(streets: Path, miniature: Path) -> None:
    """OpenCV warps labels of 8 and of 16 bits to nearest pixels that differ here and there; runs keep those of 8."""
    geometry = {"crop_hw": [40, 56], "scale": [0.6, 1.7], "rotation_deg": 20, "aspect": 0.3}
    recipe = recipe_with(streets, {"share": 0.5, "unlabelled": ["pole"]}, batch_size=2, augmentation=geometry)
    own = LabelledImages(load_splits(recipe.dataset, miniature)[0])
    auxiliary = AuxiliaryImages(recipe.auxiliary, CAMVID_CLASSES)
    samples = TrainingSamples(own, recipe, 30, auxiliary)
    for number in range(30):
        epoch, position = divmod(number, len(auxiliary))
        order = np.random.default_rng([recipe.seed, epoch, AUXILIARY]).permutation(len(auxiliary))
        random = np.random.default_rng([recipe.seed, epoch, position, AUXILIARY])
        image, label = augment(*auxiliary[int(order[position])], recipe.augmentation, random)
        sample = samples[2 * number + 1]
        assert np.array_equal(sample[0].numpy(), image)
        assert np.array_equal(sample[1].numpy(), auxiliary.training_label(label))


def test_a_run_learns_from_both(streets: Path, miniature: Path, tmp_path: Path) -> None:
    recipe = recipe_with(streets, {"unlabelled": ["pole", "sign_symbol"]}, batch_size=4, schedule={"steps": 6})
    summary = fit(SegmentationTask(recipe, miniature, Process(0, 1, torch.device("cpu"))), tmp_path / "run")
    assert summary["images"] == {"train": 9, "evaluated": 3, "auxiliary": 3}
    assert summary["steps"] == 6
    assert summary["skipped_steps"] == 0
