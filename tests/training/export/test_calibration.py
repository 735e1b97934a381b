"""Temperature scaling: it finds a temperature that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.checkpoint import load_checkpoint, network_of, two_scale_network_of
from lwseg_training.export import calibration
from lwseg_training.export.calibration import (
    MAX_LOGITS,
    PIXELS_PER_IMAGE,
    LogitSample,
    fit_temperature,
    pixels_per_image,
    sample_logits,
)
from lwseg_training.export.export import CPU
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.synergy import Synergy


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_recovers_a_known_temperature(temperature: float) -> None:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(60_000, 5, generator=random)
    label = torch.multinomial(logits.softmax(dim=1), 1, generator=random)[:, 0]
    fitted = fit_temperature([LogitSample(temperature * logits, label)])
    assert fitted.temperature == pytest.approx(temperature, rel=0.03)
    assert fitted.nll_after <= fitted.nll_before


def test_the_fit_is_the_minimum() -> None:
    random = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(5_000, 4, generator=random)
    label = torch.randint(0, 4, (5_000,), generator=random)
    label[:3_500] = logits[:3_500].argmax(dim=1)
    fitted = fit_temperature([LogitSample(logits, label)])

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits.double() / temperature, label))

    assert fitted.nll_after == pytest.approx(nll(fitted.temperature), abs=1e-9)
    assert all(nll(factor * fitted.temperature) > fitted.nll_after for factor in (0.98, 1.02))


@pytest.mark.parametrize("case", ["always right", "always wrong", "no opinion"])
def test_degenerate_networks_give_a_usable_temperature(case: str) -> None:
    label = torch.randint(0, 3, (500,), generator=torch.Generator().manual_seed(0))
    right = 5 * torch.nn.functional.one_hot(label, 3).float()
    logits = {"always right": right, "always wrong": -right, "no opinion": torch.zeros(500, 3)}[case]
    fitted = fit_temperature([LogitSample(logits, label)])
    assert 1e-3 < fitted.temperature < 1e3
    assert np.isfinite(fitted.nll_after)
    assert fitted.nll_after <= fitted.nll_before


def test_what_is_sampled_for_low_scale_is_the_low_scale(miniature: Path, run_folder: Path) -> None:
    recipe, network = two_scale_network_of(load_checkpoint(run_folder / "last.pt"), 0.5)
    normalize = Normalize(recipe.normalization)
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    low = sample_logits(InferenceGraph(network, normalize, uncertainty_kind="low_scale").eval(), images, CPU)
    alone = InferenceGraph(Synergy(network.trunk, combine="low"), normalize).eval()
    expected = sample_logits(alone, images, CPU)
    assert torch.equal(low.label, expected.label)
    torch.testing.assert_close(low.logits.softmax(1), expected.logits.softmax(1))
    both = sample_logits(InferenceGraph(network, normalize).eval(), images, CPU)
    assert not torch.allclose(low.logits.softmax(1), both.logits.softmax(1), atol=0.01)


def test_sampled_pixels_are_those_of_the_split_without_void(miniature: Path, run_folder: Path) -> None:
    recipe, network = network_of(load_checkpoint(run_folder / "last.pt"))
    graph = InferenceGraph(network, Normalize(recipe.normalization)).eval()
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    sample = sample_logits(graph, images, CPU)
    logits, label = sample.logits, sample.label
    counted = sum(int((images[index][1] != 255).sum()) for index in range(3))
    assert counted < 3 * PIXELS_PER_IMAGE, "so every pixel is drawn"
    assert logits.shape == (counted, 11)
    assert logits.dtype == torch.float32
    expected = np.concatenate([images[index][1].ravel() for index in range(3)])
    assert np.array_equal(
        np.bincount(label.numpy(), minlength=11), np.bincount(expected[expected != 255], minlength=11)
    )
    assert float((logits.argmax(dim=1) == label).float().mean()) > 0.8, "each pixel's logits go with its label"


def test_few_pixels_of_each_image_where_there_are_many(miniature: Path, run_folder: Path) -> None:
    recipe, network = network_of(load_checkpoint(run_folder / "last.pt"))
    graph = InferenceGraph(network, Normalize(recipe.normalization)).eval()
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    sample = sample_logits(graph, images, CPU, pixels=10)
    assert sample.logits.shape == (30, 11)
    for index in range(3):
        true = set(np.unique(images[index][1])) - {255}
        assert set(sample.label[10 * index : 10 * index + 10].tolist()) <= true


@pytest.mark.parametrize(
    ("images", "classes", "pixels"), [(101, 11, PIXELS_PER_IMAGE), (2000, 150, 894), (MAX_LOGITS, 150, 1)]
)
def test_what_is_kept_of_a_large_split_is_bounded(images: int, classes: int, pixels: int) -> None:
    assert pixels_per_image(images, classes) == pixels
    assert pixels == 1 or images * pixels * classes <= MAX_LOGITS


def test_samples_weigh_alike_whatever_their_sizes_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(2)
    few = LogitSample(2 * torch.randn(300, 4, generator=random), torch.randint(0, 4, (300,), generator=random))
    logits = 3 * torch.randn(3000, 4, generator=random)
    many = LogitSample(logits, logits.argmax(dim=1))
    tenfold = LogitSample(torch.cat([many.logits, *[few.logits] * 10]), torch.cat([many.label, *[few.label] * 10]))
    expected = fit_temperature([tenfold])
    monkeypatch.setattr(calibration, "CHUNK_LOGITS", 4 * 77)
    fitted = fit_temperature([few, many])
    assert fitted.temperature == pytest.approx(expected.temperature, rel=1e-6)
    assert (fitted.nll_before, fitted.nll_after) == pytest.approx((expected.nll_before, expected.nll_after))
    assert fitted.temperature != pytest.approx(fit_temperature([few]).temperature, rel=0.1)
