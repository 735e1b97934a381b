"""Class frequencies: what is counted, and that kept counts are those of the files as they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from lwseg_training.config.recipe import DatasetSection
from lwseg_training.data.class_frequencies import class_frequencies
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from support.camvid_miniature import write_miniature

from lwseg_ros.errors import DatasetError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_miniature(tmp_path / "data", train=4)


def images_of(root: Path) -> LabelledImages:
    return LabelledImages(load_splits(DatasetSection(), root)[0])


def test_they_count_labelled_pixels_only(miniature: Path) -> None:
    images = images_of(miniature)
    frequencies = class_frequencies(images, 11)
    assert frequencies.sum() == pytest.approx(1)
    counted = sum(int((images[index][1] == 3).sum()) for index in range(9))
    pixels = sum(int((images[index][1] != 255).sum()) for index in range(9))
    assert frequencies[3] == pytest.approx(counted / pixels)
    assert frequencies[10] == 0


def test_a_second_run_reads_no_image(root: Path, cache: Path) -> None:
    first = class_frequencies(images_of(root), 11)
    for path in (root / "train").iterdir():
        path.write_bytes(b"no image")  # which only a count would notice
    assert np.array_equal(class_frequencies(images_of(root), 11), first)
    shutil.rmtree(cache)
    with pytest.raises(DatasetError, match="cannot read"):
        class_frequencies(images_of(root), 11)


def test_changed_files_are_counted_again(root: Path, tmp_path: Path) -> None:
    first = class_frequencies(images_of(root), 11)
    path = sorted((root / "trainannot").iterdir())[0]
    before = path.stat()
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert cv2.imwrite(str(path), np.full_like(label, 4))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # another size at the same time
    second = class_frequencies(images_of(root), 11)
    assert second[4] > first[4]
    assert cv2.imwrite(str(path), np.full_like(label, 6))
    third = class_frequencies(images_of(root), 11)  # of the same size as before, at another time
    assert third[6] > second[6]
    path.rename(path.with_name("0001TP_000009.png"))
    image = root / "train" / path.name
    image.rename(image.with_name("0001TP_000009.png"))
    assert np.array_equal(class_frequencies(images_of(root), 11), third)


def test_other_splits_have_counts_of_their_own(root: Path) -> None:
    first = class_frequencies(images_of(root), 11)
    held_out = LabelledImages(load_splits(DatasetSection(held_out=("0006R0",)), root)[0])
    assert not np.array_equal(class_frequencies(held_out, 11), first)
    assert np.array_equal(class_frequencies(images_of(root), 11), first)


@pytest.mark.parametrize("damage", ["", "[1, 2]", "[" + "-1," * 255 + "1]", "[" + "1.5," * 255 + "1]", "{}"])
def test_a_damaged_file_is_counted_again(damage: str, root: Path, cache: Path) -> None:
    first = class_frequencies(images_of(root), 11)
    (kept,) = cache.rglob("*.json")
    kept.write_text(damage)
    assert np.array_equal(class_frequencies(images_of(root), 11), first)


def test_without_a_folder_to_keep_them_they_are_counted_all_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert class_frequencies(images_of(root), 11).sum() == pytest.approx(1)
