"""Fixtures of the training tests: the miniature data set, and one short run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e ./training")

import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from support.camvid_miniature import miniature_recipe, write_miniature

pytest.register_assert_rewrite("support.network_contract")  # so that a clause that fails says what it saw

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a miniature CamVid: 9 training images of three sequences, 3 to validate on, 64 x 96."""
    return write_miniature(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="session")
def run_folder(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that learned the miniature."""
    out = tmp_path_factory.mktemp("runs") / "run"
    recipe = miniature_recipe(schedule={"steps": 60, "warmup_steps": 5}, evaluate_every_epochs=10)
    fit(SegmentationTask(parse_recipe(recipe), miniature, ALONE), out)
    return out
