"""Judging a network while it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.evaluation import evaluate_network
from training.normalization import Normalize
from training.recipe import DatasetSection
from training.samples import LabelledImages, load_splits


class AlwaysRoad(nn.Module):
    """Says road everywhere."""

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(len(image), 11, *image.shape[-2:])
        logits[:, 3] = 1
        return logits


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_counts_every_labelled_pixel_of_the_split(precision: str, miniature: Path) -> None:
    images = LabelledImages(load_splits(DatasetSection(), miniature)[1])
    network = AlwaysRoad().train()
    confusion = evaluate_network(network, Normalize(), images, 11, torch.device("cpu"), precision)
    labels = np.concatenate([images[index][1].ravel() for index in range(3)])
    counted = labels[labels != 255]
    assert confusion.num_pixels == counted.size
    assert confusion.pixel_accuracy == pytest.approx((counted == 3).mean())
    present = len(np.unique(counted))
    assert confusion.miou == pytest.approx((counted == 3).mean() / present)
    assert not network.training
