"""`lwseg pseudo-label`: the data set that it leaves behind, and what it refuses."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from lwseg_training.commands import pseudo_label as command

from lwseg_ros.datasets import load_split, read_pair
from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.errors import DatasetError, LwsegError, RecipeError


def label(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in (*arguments, "--device", "cpu")]))


def test_the_result_is_a_data_set(
    run_folder: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "streets"
    assert label(run_folder / "last.pt", miniature / "val", "-o", out, "--class-confidence", "pole=0.3", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert "labelling" in captured.err
    split = load_split("folder", out, "train")
    assert (split.dataset, split.ignore_id, len(split.pairs)) == ("streets", 255, 3)
    assert [(c.name, c.color_rgb) for c in split.classes] == [(c.name, c.color_rgb) for c in CAMVID_CLASSES]
    pairs = [read_pair(*pair) for pair in split.pairs]
    images = sorted((miniature / "val").iterdir())
    assert all(np.array_equal(pair[0], cv2.imread(str(path))) for pair, path in zip(pairs, images, strict=True))
    counts = np.bincount(np.concatenate([pair[1].ravel() for pair in pairs]), minlength=256)
    assert 0 < counts[255] < counts.sum() / 2
    assert report["labelled"] == pytest.approx(1 - counts[255] / counts.sum())
    assert {name: row["labelled"] for name, row in report["classes"].items()} == {
        info.name: counts[info.id] for info in CAMVID_CLASSES
    }
    assert all(row["labelled"] <= row["predicted"] for row in report["classes"].values())
    assert sum(row["predicted"] for row in report["classes"].values()) == counts.sum()
    assert report["classes"]["pole"]["confidence"] == 0.3
    assert report["classes"]["sky"]["confidence"] == 0.9
    assert json.loads((out / "pseudo_labels.json").read_text()) == report


def test_known_labels_are_completed(
    run_folder: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((miniature / "val").iterdir())
    known = np.full((64, 96), 255, np.uint8)
    known[:, :48] = 9  # which the network would not say
    (tmp_path / "known").mkdir()
    for path in images:
        assert cv2.imwrite(str(tmp_path / "known" / path.name), known)
    places = (run_folder / "last.pt", miniature / "val", "--labels", tmp_path / "known", "--confidence", 0)
    assert label(*places, "-o", tmp_path / "out", "--unlabelled", "sky") == 0
    assert "100.0% of the pixels of 3 images are labelled" in capsys.readouterr().out
    for _, path in load_split("folder", tmp_path / "out", "train").pairs:
        made = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(made[:, :48])) == {0, 9}
        assert {0, 3} <= set(np.unique(made[:, 48:]))
        assert 9 not in made[:, 48:]


def test_what_it_cannot_use_is_refused(run_folder: Path, miniature: Path, tmp_path: Path) -> None:
    network, images, out = run_folder / "last.pt", tmp_path / "images", tmp_path / "out"
    with pytest.raises(DatasetError, match="no folder of images"):
        label(network, images, "-o", out)
    images.mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        label(network, images, "-o", out)
    for suffix in ("png", "jpg"):
        shutil.copy(next((miniature / "val").iterdir()), images / f"a.{suffix}")
    with pytest.raises(DatasetError, match="several images a, which would have one label"):
        label(network, images, "-o", out)
    (images / "a.jpg").unlink()
    with pytest.raises(DatasetError, match=r"no label .*a\.png, and 0 more are missing"):
        label(network, images, "-o", out, "--labels", tmp_path)
    with pytest.raises(RecipeError, match="--unlabelled is about known labels"):
        label(network, images, "-o", out, "--unlabelled", "pole")
    with pytest.raises(RecipeError, match="--unlabelled: no class 'lamp'"):
        label(network, images, "-o", out, "--labels", images, "--unlabelled", "lamp")
    assert not out.exists()
    with pytest.raises(LwsegError, match="is not empty; choose another --output"):
        label(network, images, "-o", images)
    with pytest.raises(SystemExit):
        label(network, images, "-o", out, "--class-confidence", "pole")
