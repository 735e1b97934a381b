"""The registry: a network is one file in the folder, and nothing outside the folder knows of it."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import lwseg_training
import pytest
import torch
from lwseg_training import networks
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.networks import NETWORKS, adapted_weights, build_network, registry
from support import network_contract as contract
from support.camvid_miniature import miniature_recipe
from torch import nn

from lwseg_ros.cli import main

ANOTHER = """
from torch import nn
from lwseg_training.networks.layers import ConvBN, upsample_logits
from lwseg_training.networks.registry import ClassifyingNetwork, NetworkEntry, PublishedCount

class Another(ClassifyingNetwork):
    last_layer = "classifier"

    def __init__(self, num_classes, *, width=8):
        super().__init__()
        self.features = ConvBN(3, width, 3, stride=2)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, image):
        return upsample_logits(self.classifier(self.features(image)), image.shape[-2:])

# Parameters: 3 x 9 x 8 + 16, and 8 x 5 + 5. At half of 64 x 96, 216 + 40 multiply-adds a pixel, and a little normalisation.
COUNT = PublishedCount(277e-6, 1536 * 256e-9, (64, 96), 5, multiply_adds_within=0.1)
NETWORKS = {"another": NetworkEntry(Another, "Doe, Another Network for Segmentation, 2026", COUNT)}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is part of networks/."""
    folder = tmp_path / "networks"
    folder.mkdir()
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(folder)])
    yield folder
    monkeypatch.undo()
    for path in folder.glob("*.py"):
        sys.modules.pop(f"lwseg_training.networks.{path.stem}", None)
    registry.discover()


def test_a_file_in_the_folder_is_a_network(
    folder: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(NETWORKS)
    (folder / "another.py").write_text(ANOTHER)
    registry.discover()
    assert set(NETWORKS) == {*before, "another"}
    contract.has_published_counts(lambda classes: build_network("another", classes), NETWORKS["another"].count)
    assert main(["networks", "--json", "--size", "64x96", "--classes", "5"]) == 0
    (row,) = (row for row in json.loads(capsys.readouterr().out) if row["name"] == "another")
    assert row["parameters"] == 277
    recipe = parse_recipe(miniature_recipe(network={"name": "another", "options": {"width": 4}}, schedule={"steps": 2}))
    process = Process(0, 1, torch.device("cpu"))
    summary = fit(SegmentationTask(recipe, miniature, process), tmp_path / "run")
    assert summary["steps"] == 2
    assert load_checkpoint(tmp_path / "run" / "last.pt")["network"]["classifier.weight"].shape == (11, 4, 1, 1)


def test_a_name_that_is_there_already_is_refused(folder: Path) -> None:
    (folder / "another.py").write_text(ANOTHER.replace('"another"', '"lemore"'))
    with pytest.raises(ValueError, match=r"another\.py declares the network 'lemore', which is there already"):
        registry.discover()


def test_every_module_of_a_network_adapts_the_weights_that_lie_in_it() -> None:
    class Doubling(nn.Linear):
        def adapt_weights(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {name: 2 * value for name, value in weights.items()}

    network = nn.Sequential(nn.Linear(1, 1), Doubling(1, 1))
    ones = {name: torch.ones(1) for name in ("0.weight", "1.weight", "other")}
    assert {name: float(value) for name, value in adapted_weights(network, ones).items()} == {
        "0.weight": 1,
        "1.weight": 2,
        "other": 1,
    }


def test_no_module_outside_the_folder_imports_a_network() -> None:
    root = Path(lwseg_training.__file__).parent
    names = [f"lwseg_training.networks.{info.name}" for info in pkgutil.iter_modules(networks.__path__)]
    declaring = {
        name for name in names if name != registry.__name__ and hasattr(importlib.import_module(name), "NETWORKS")
    }
    assert len(declaring) >= 5
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "networks"):
            continue
        imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not declaring & {node.module for node in imports}, path
