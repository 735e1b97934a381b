"""Temperature scaling: it finds a temperature that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint, network_of, two_scale_network_of
from lwseg_training.export.calibration import PIXELS_PER_IMAGE, fit_temperature, sample_logits
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.synergy import Synergy


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_recovers_a_known_temperature(temperature: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(60_000, 5, generator=random)
    label = torch.multinomial(logits.softmax(dim=1), 1, generator=random)[:, 0]
    calibration = fit_temperature(temperature * logits, label)
    assert calibration.temperature == pytest.approx(temperature, rel=0.03)
    assert calibration.nll_after <= calibration.nll_before


def test_the_fit_is_the_minimum() -> None:
    random = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(5_000, 4, generator=random)
    label = torch.randint(0, 4, (5_000,), generator=random)
    label[:3_500] = logits[:3_500].argmax(dim=1)
    calibration = fit_temperature(logits, label)

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits.double() / temperature, label))

    assert calibration.nll_after == pytest.approx(nll(calibration.temperature), abs=1e-9)
    assert all(nll(factor * calibration.temperature) > calibration.nll_after for factor in (0.98, 1.02))


@pytest.mark.parametrize("case", ["always right", "always wrong", "no opinion"])
def test_degenerate_networks_give_a_usable_temperature(case: str) -> None:
    label = torch.randint(0, 3, (500,), generator=torch.Generator().manual_seed(0))
    right = 5 * torch.nn.functional.one_hot(label, 3).float()
    logits = {"always right": right, "always wrong": -right, "no opinion": torch.zeros(500, 3)}[case]
    calibration = fit_temperature(logits, label)
    assert 1e-3 < calibration.temperature < 1e3
    assert np.isfinite(calibration.nll_after)
    assert calibration.nll_after <= calibration.nll_before


def test_what_is_sampled_for_low_scale_is_the_low_scale(miniature: Path, run_folder: Path) -> None:
    recipe, network = two_scale_network_of(load_checkpoint(run_folder / "last.pt"), 0.5)
    normalize = Normalize(recipe.normalization)
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    logits, label = sample_logits(InferenceGraph(network, normalize, uncertainty_kind="low_scale").eval(), images)
    alone = InferenceGraph(Synergy(network.trunk, combine="low"), normalize).eval()
    expected, expected_label = sample_logits(alone, images)
    assert torch.equal(label, expected_label)
    torch.testing.assert_close(logits.softmax(1), expected.softmax(1))
    both, _ = sample_logits(InferenceGraph(network, normalize).eval(), images)
    assert not torch.allclose(logits.softmax(1), both.softmax(1), atol=0.01)


def test_sampled_pixels_are_those_of_the_split_without_void(miniature: Path, run_folder: Path) -> None:
    recipe, network = network_of(load_checkpoint(run_folder / "last.pt"))
    graph = InferenceGraph(network, Normalize(recipe.normalization)).eval()
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    logits, label = sample_logits(graph, images)
    counted = sum(int((images[index][1] != 255).sum()) for index in range(3))
    assert counted < 3 * PIXELS_PER_IMAGE, "so every pixel is drawn"
    assert logits.shape == (counted, 11)
    assert logits.dtype == torch.float32
    expected = np.concatenate([images[index][1].ravel() for index in range(3)])
    assert np.array_equal(
        np.bincount(label.numpy(), minlength=11), np.bincount(expected[expected != 255], minlength=11)
    )
    assert float((logits.argmax(dim=1) == label).float().mean()) > 0.8, "each pixel's logits go with its label"
