"""Which samples a run sees, in which order, in how many processes."""

from __future__ import annotations

import itertools
import multiprocessing
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection, Recipe, parse_recipe
from lwseg_training.data import labelled_images as labelled_images_module
from lwseg_training.data.class_frequencies import class_frequencies
from lwseg_training.data.labelled_images import LabelledImages, load_splits, sequence_of
from lwseg_training.data.samples import StepSampler, TrainingSamples, start_worker, training_loader, worker_count
from support.camvid_miniature import miniature_recipe, write_miniature
from support.tiny_model import write_tiny_model

from lwseg_ros.backends import BackendChoice
from lwseg_ros.errors import DatasetError
from lwseg_ros.segmenter import Segmenter

TOTAL_STEPS = 10


def samples_of(miniature: Path, **changes: Any) -> TrainingSamples:
    recipe: Recipe = parse_recipe(miniature_recipe(**changes))
    return TrainingSamples(LabelledImages(load_splits(recipe.dataset, miniature)[0]), recipe, TOTAL_STEPS)


def same(first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_sequence_is_the_name_up_to_the_first_underscore() -> None:
    assert sequence_of(Path("train/0006R0_f00930.png")) == "0006R0"


def test_without_leaving_out_it_evaluates_on_the_validation_split(miniature: Path) -> None:
    train, evaluated = load_splits(DatasetSection(), miniature)
    assert (len(train.pairs), len(evaluated.pairs), evaluated.split) == (9, 3, "val")


def test_a_sequence_held_out_is_evaluated_on_and_not_trained_on(miniature: Path) -> None:
    train, evaluated = load_splits(DatasetSection(held_out=("0006R0",)), miniature)
    assert {sequence_of(image) for image, _ in train.pairs} == {"0001TP", "0016E5"}
    assert {sequence_of(image) for image, _ in evaluated.pairs} == {"0006R0"}
    assert len(train.pairs) + len(evaluated.pairs) == 9
    assert evaluated.split == "held out 0006R0"
    assert evaluated.classes == train.classes


def test_several_splits_are_trained_on_together(miniature: Path) -> None:
    train, evaluated = load_splits(DatasetSection(train_split=("train", "val")), miniature)
    alone = load_splits(DatasetSection(), miniature)
    assert train.pairs == alone[0].pairs + alone[1].pairs
    assert train.split == "train + val"
    assert evaluated.pairs == alone[1].pairs
    assert evaluated.split == "val (trained on)"
    assert len(load_splits(DatasetSection(train_split=("train", "val", "train")), miniature)[0].pairs) == 12


def test_a_split_of_which_images_are_trained_on_under_another_name_says_so(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        assert cv2.imwrite(str(tmp_path / f"{name}.jpg"), np.zeros((2, 4, 3), np.uint8))
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((2, 4), np.uint8))
    (tmp_path / "dataset.yaml").write_text(
        "name: own\nclasses: [{name: ground, color: [1, 2, 3]}, {name: sky, color: [4, 5, 6]}]\n"
        "splits: {all: {images: '*.jpg', labels: '{name}.png'}, some: {images: '[ab].jpg', labels: '{name}.png'},"
        " rest: {images: 'c.jpg', labels: '{name}.png'}}\n"
    )
    for train, validation, told in (("all", "some", "some (trained on)"), ("some", "rest", "rest")):
        section = DatasetSection(name="folder", train_split=train, validation_split=validation)
        assert load_splits(section, tmp_path)[1].split == told


def test_a_sequence_is_held_out_of_every_split(miniature: Path) -> None:
    """All of val is 0016E5, a third of train too."""
    train, evaluated = load_splits(DatasetSection(train_split=("train", "val"), held_out=("0016E5",)), miniature)
    assert {sequence_of(image) for image, _ in train.pairs} == {"0001TP", "0006R0"}
    assert [image.parent.name for image, _ in evaluated.pairs] == ["train"] * 3 + ["val"] * 3
    assert evaluated.split == "held out 0016E5"
    other = load_splits(DatasetSection(train_split=("train", "val"), held_out=("0006R0",)), miniature)
    assert len(other[0].pairs) == 9
    assert {sequence_of(image) for image, _ in other[1].pairs} == {"0006R0"}
    assert load_splits(DatasetSection(held_out=("0016E5",)), miniature)[1].pairs == evaluated.pairs[:3]


def test_sequences_that_are_not_there_or_all_there_is_are_refused(miniature: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"no sequence \['0005VD'\] in train; there are: \['0001TP', '0006R0', '0016E5'\]"
    ):
        load_splits(DatasetSection(held_out=("0006R0", "0005VD")), miniature)
    with pytest.raises(DatasetError, match="leaves nothing to train on"):
        load_splits(DatasetSection(held_out=("0006R0", "0001TP", "0016E5")), miniature)


def test_void_becomes_ignored(miniature: Path) -> None:
    _, label = LabelledImages(load_splits(DatasetSection(), miniature)[0])[0]
    assert (label[-3:] == 255).all()
    assert (label[:-3] < 11).all()


def test_images_beyond_the_cache_are_read_again(miniature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = load_splits(DatasetSection(), miniature)[0]
    kept = LabelledImages(split)
    first_bytes = sum(array.nbytes for array in kept[0])
    monkeypatch.setattr(labelled_images_module, "CACHE_BYTES", 2 * first_bytes)
    bounded = LabelledImages(split)
    for _ in range(2):
        for index in range(len(split.pairs)):
            assert all(np.array_equal(a, b) for a, b in zip(bounded[index], kept[index], strict=True))
    assert np.shares_memory(bounded[1][0], bounded[1][0])
    assert not np.shares_memory(bounded[2][0], bounded[2][0])


def test_a_label_with_an_id_that_is_no_class_is_refused(tmp_path: Path) -> None:
    root = write_miniature(tmp_path, train=2)
    path = sorted((root / "trainannot").glob("*.png"))[1]
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[0, :2] = 12, 200
    assert cv2.imwrite(str(path), label)
    images = LabelledImages(load_splits(DatasetSection(), root)[0])
    with pytest.raises(
        DatasetError, match=rf"label .*{path.name} holds the ids \[12, 200\]; camvid has the classes 0 to 10, and 11"
    ):
        class_frequencies(images, 11)


def test_labels_with_other_values_than_class_ids_are_translated(tmp_path: Path) -> None:
    for folder, name, picture in (
        ("images", "a.jpg", np.zeros((2, 4, 3), np.uint8)),
        ("annotations", "a.png", np.array([[0, 1, 13, 150]] * 2, np.uint8)),
    ):
        (tmp_path / folder / "training").mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / folder / "training" / name), picture)
    section = DatasetSection(name="ade20k", train_split="training", validation_split="training")
    _, label = LabelledImages(load_splits(section, tmp_path)[0])[0]
    assert label.tolist() == [[255, 0, 12, 149]] * 2


@pytest.mark.parametrize("size_hw", [(40, 60), (20, 30), (90, 120)])
def test_images_are_resized_as_the_segmenter_resizes_them(
    size_hw: tuple[int, int], miniature: Path, tmp_path: Path
) -> None:
    """What a model is calibrated and evaluated on is what it will see."""
    split = load_splits(DatasetSection(), miniature)[1]
    image, label = LabelledImages(split, size_hw)[0]
    seen: list[np.ndarray] = []

    class Recorder:
        def infer(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.append(images[0].copy())
            return np.zeros(images.shape[:3], np.uint8), np.zeros(images.shape[:3], np.uint8)

    model = write_tiny_model(tmp_path / "model.onnx", size_hw=size_hw)
    Segmenter(model, BackendChoice(Recorder(), "recorded", None)).segment([LabelledImages(split)[0][0]])
    assert np.array_equal(image, seen[0])
    assert label.shape == size_hw


def test_an_epoch_holds_every_image_once_each_epoch_in_another_order(miniature: Path) -> None:
    plain = {"crop_hw": [64, 96], "flip": 0.0}
    samples = samples_of(miniature, augmentation=plain)
    originals = [samples.images[index][0] for index in range(9)]

    def order(epoch: int) -> list[int]:
        images = [samples[9 * epoch + position][0].numpy() for position in range(9)]
        return [next(i for i, original in enumerate(originals) if np.array_equal(original, image)) for image in images]

    assert sorted(order(0)) == sorted(order(1)) == list(range(9))
    assert order(0) != order(1)
    assert order(0) == order(0)
    other_seed = samples_of(miniature, augmentation=plain, seed=1)
    assert any(not same(samples[number], other_seed[number]) for number in range(9))


def test_a_sample_depends_on_its_number_alone(miniature: Path) -> None:
    heavy = {"crop_hw": [48, 64], "scale": [0.5, 2.0], "noise": 5, "blur": 0.5, "class_mix": 0.5}
    forwards, backwards = samples_of(miniature, augmentation=heavy), samples_of(miniature, augmentation=heavy)
    ahead = [forwards[number] for number in range(20)]
    assert all(same(backwards[number], ahead[number]) for number in reversed(range(20)))


def test_class_mix_mixes_two_samples(miniature: Path) -> None:
    plain = samples_of(miniature, augmentation={"crop_hw": [48, 64]})
    mixed = samples_of(miniature, augmentation={"crop_hw": [48, 64], "class_mix": 1.0})
    changed = [number for number in range(9) if not same(plain[number], mixed[number])]
    assert len(changed) >= 7
    image, label = mixed[changed[0]]
    kept = (image == plain[changed[0]][0]).all(dim=-1)
    assert 0.02 < float(kept.float().mean()) < 0.98
    assert torch.equal(label[kept], plain[changed[0]][1][kept])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_the_first_step_or_the_workers(miniature: Path, workers: int) -> None:
    samples = samples_of(miniature)
    whole = list(training_loader(samples, StepSampler(4, 0, TOTAL_STEPS), workers, pin=False))
    late = list(training_loader(samples, StepSampler(4, 7, TOTAL_STEPS), workers, pin=False))
    assert (len(whole), len(late)) == (10, 3)
    assert all(same(a, b) for a, b in zip(whole[7:], late, strict=True))
    image, label = whole[0]
    assert (image.shape, image.dtype) == ((4, 48, 64, 3), torch.uint8)
    assert (label.shape, label.dtype) == ((4, 48, 64), torch.uint8)
    assert torch.equal(image[2], samples[2][0])


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_each_batch_out_exactly(world_size: int) -> None:
    alone = list(StepSampler(8, 3, 6))
    shares = [list(StepSampler(8, 3, 6, rank, world_size)) for rank in range(world_size)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == alone
    assert alone[0] == list(range(24, 32))
    assert len(StepSampler(8, 3, 6)) == 3


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(DatasetError, match="a batch of 8 cannot be shared out evenly among 3 processes"):
        StepSampler(8, 0, 1, 0, 3)


def test_the_early_part_of_the_schedule_has_its_own_size(miniature: Path) -> None:
    early = {"share": 0.25, "crop_hw": [32, 40], "scale": [0.4, 0.6]}
    samples = samples_of(miniature, early=early)
    batches = list(training_loader(samples, StepSampler(4, 0, TOTAL_STEPS), 0, pin=False))
    sizes = [tuple(image.shape[1:3]) for image, _ in batches]
    assert sizes == [(32, 40)] * 2 + [(48, 64)] * 8  # round(0.25 * 10) is 2: Python rounds halves to even


def test_workers_share_the_cores_of_this_process_with_the_other_training_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def workers(cores: int, processes: str | None, asked: int | None = None) -> int:
        monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(cores)))
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        return worker_count(parse_recipe(miniature_recipe(workers=asked)))

    assert [workers(cores, None) for cores in (1, 2, 8, 64)] == [1, 1, 7, 12]
    assert [workers(64, processes) for processes in ("4", "8", "64")] == [12, 7, 1]
    assert workers(64, "8", asked=3) == 3


def test_a_worker_leaves_signals_to_the_trainer_and_ends_when_that_ends_it() -> None:
    """Where a run fails, multiprocessing terminates the workers that are left and waits for them without end."""
    context = multiprocessing.get_context("fork")
    ours, its_own = context.Pipe()

    def work() -> None:
        start_worker(0)
        while True:
            its_own.send("there")
            its_own.recv()

    worker = context.Process(target=work, daemon=True)
    worker.start()
    its_own.close()  # so that nothing is waited for where the worker is gone
    assert ours.recv() == "there"
    for name in ("TERM", "INT", "TERM"):
        subprocess.run(["sh", "-c", f"kill -{name} {worker.pid}"], check=True)  # by another process than the trainer
        ours.send("still?")
        assert ours.recv() == "there"
    worker.terminate()
    worker.join(300)
    assert worker.exitcode == 0
