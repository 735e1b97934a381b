"""Evaluating a network while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lwseg_training.config.recipe import DatasetSection, InferenceSection
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.engine.evaluation import evaluate_network
from lwseg_training.networks.normalization import Normalize
from torch import Tensor, nn

from lwseg_ros.evaluation.metrics import ConfusionMatrix
from lwseg_ros.imaging.resizing import resize_image, resize_label


class AlwaysRoad(nn.Module):
    """Says road everywhere."""

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(len(image), 11, *image.shape[-2:])
        logits[:, 3] = 1
        return logits


class Thresholds(nn.Module):
    """Says road where the image is bright; remembers the sizes it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[-2:]))
        logits = torch.zeros(len(image), 11, *image.shape[-2:])
        logits[:, 3] = image.mean(dim=1)
        return logits


@pytest.mark.parametrize(
    ("settings", "size_hw"),
    [
        ({"size_hw": (40, 50)}, (40, 50)),
        ({"short_side": 32}, (32, 48)),
        ({"long_side": 72}, (48, 72)),
        ({"window_hw": (48, 48)}, (48, 48)),
        ({"size_hw": (40, 50), "window_hw": (48, 48)}, (40, 48)),
        ({}, (64, 96)),
    ],
)
def test_images_are_evaluated_at_the_size_asked_for_and_counted_at_their_own(
    settings: dict[str, Any], size_hw: tuple[int, int], miniature: Path
) -> None:
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    network, normalize, cpu = Thresholds(), Normalize(), torch.device("cpu")
    confusion = evaluate_network(network, normalize, images, cpu, "fp32", InferenceSection(**settings)).confusion
    assert set(network.sizes) == {size_hw}
    assert confusion.num_pixels == sum(int((images[index][1] != 255).sum()) for index in range(len(images)))
    at_own_size = evaluate_network(network, normalize, images, cpu, "fp32").confusion
    assert confusion.pixel_accuracy == pytest.approx(at_own_size.pixel_accuracy, abs=0.1)
    assert 0 < confusion.pixel_accuracy < 1


def test_logits_are_upsampled_where_the_recipe_says_so(miniature: Path) -> None:
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    normalize, cpu = Normalize(), torch.device("cpu")
    expected = {False: ConfusionMatrix(11, 255), True: ConfusionMatrix(11, 255)}
    for image, label in images:
        logits = Thresholds()(normalize(torch.from_numpy(resize_image(image, (16, 24)))[None]))
        expected[False].update(label, resize_label(logits[0].argmax(0).byte().numpy(), (64, 96)))
        upsampled = torch.nn.functional.interpolate(logits, (64, 96), mode="bilinear")
        expected[True].update(label, upsampled[0].argmax(0).byte().numpy())
    for upsample, matrix in expected.items():
        inference = InferenceSection(size_hw=(16, 24), upsample_logits=upsample)
        confusion = evaluate_network(Thresholds(), normalize, images, cpu, "fp32", inference).confusion
        assert np.array_equal(confusion.counts, matrix.counts)
    assert not np.array_equal(expected[False].counts, expected[True].counts)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_counts_every_labelled_pixel_of_the_split(precision: str, miniature: Path) -> None:
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    network = AlwaysRoad().train()
    confusion = evaluate_network(network, Normalize(), images, torch.device("cpu"), precision).confusion
    labels = np.concatenate([images[index][1].ravel() for index in range(3)])
    counted = labels[labels != 255]
    assert confusion.num_pixels == counted.size
    assert confusion.pixel_accuracy == pytest.approx((counted == 3).mean())
    present = len(np.unique(counted))
    assert confusion.miou == pytest.approx((counted == 3).mean() / present)
    assert not network.training
