"""Decoded images that processes share: each decoded once, in bounded memory."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.data import labelled_images
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.data.samples import StepSampler, TrainingSamples, training_loader
from lwseg_training.data.shared_images import SharedImages
from support.camvid_miniature import miniature_recipe


def pair(level: int, height: int = 4, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    return np.full((height, width, 3), level, np.uint8), np.full((height, width), level + 100, np.uint8)


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_pairs_of_any_size_are_kept_until_there_is_no_room() -> None:
    shared = SharedImages(4, 4 * (24 + 10) + 4 * 20)
    assert shared.get(0) is None
    assert same(shared.keep(2, *pair(1)), pair(1))
    assert same(shared.keep(0, *pair(2, 2, 5)), pair(2, 2, 5))
    image, label = pair(3)
    assert shared.keep(1, image, label)[0] is image  # 96 bytes, of which 80 are left
    assert shared.get(1) is None
    assert same(shared.keep(3, *pair(4, 5, 4)), pair(4, 5, 4))  # which fits exactly
    assert same(shared.get(2), pair(1))
    assert same(shared.get(0), pair(2, 2, 5))
    assert same(shared.keep(2, *pair(9)), pair(1)), "the first stays"


def test_what_one_process_keeps_the_others_have() -> None:
    shared = SharedImages(40, 1 << 16)
    context = multiprocessing.get_context("fork")

    def fill() -> None:
        for number in range(40):
            if shared.get(number) is None:
                shared.keep(number, *pair(number, 4 + number % 3))

    processes = [context.Process(target=fill) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    for number in range(40):
        assert same(shared.get(number), pair(number, 4 + number % 3))
    heights = [4 + number % 3 for number in range(40)]
    assert int(shared._used[0]) == sum(4 * 6 * height for height in heights), "each is there once"


def test_workers_decode_each_image_once(miniature: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Three epochs by two workers, of which each writes down what it decodes."""
    read_pair, log = labelled_images.read_pair, tmp_path / "decoded"

    def logged(image: Any, label: Any) -> Any:
        with log.open("a") as file:
            file.write(f"{image.name}\n")
        return read_pair(image, label)

    monkeypatch.setattr(labelled_images, "read_pair", logged)
    recipe = parse_recipe(miniature_recipe(batch_size=3))
    samples = TrainingSamples(LabelledImages(load_splits(recipe.dataset, miniature)[0]), recipe, 9)
    assert len(list(training_loader(samples, StepSampler(3, 0, 9), 2, pin=False))) == 9
    names = log.read_text().split()
    assert len(set(names)) == 9
    assert len(names) <= 13  # two workers may decode one at the same time; 18 were it a cache each
