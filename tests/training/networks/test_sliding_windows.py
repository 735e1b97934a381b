"""Windows over an image: where they lie, what becomes of overlaps, and the way to ONNX."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from lwseg_training.export.export import to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks.count import count_network
from lwseg_training.networks.dwrseg import DWRSeg
from lwseg_training.networks.lemore import LeMoRe
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.sliding_windows import SlidingWindows, window_starts
from torch import Tensor, nn


class Position(nn.Module):
    """Logits that say where in the window a pixel lies: its row, its column, and the image's first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape))
        rows = torch.arange(image.shape[-2], dtype=torch.float32)[:, None].expand(image.shape[0], 1, *image.shape[-2:])
        columns = torch.arange(image.shape[-1], dtype=torch.float32).expand(image.shape[0], 1, *image.shape[-2:])
        return torch.cat([rows, columns, image[:, :1]], dim=1)


class Context(nn.Module):
    """Logits of a 3x3 convolution, to each of which the mean over the window is added: what is seen depends on the window."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.mixed = nn.Conv2d(4, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.convolution(image)
        return features + 5 * self.mixed(features.mean(dim=(2, 3), keepdim=True))


def lemore(size_hw: tuple[int, int]) -> LeMoRe:
    torch.manual_seed(0)
    return LeMoRe(4, size_hw=size_hw, channels=(8, 8, 16, 16), blocks=(1, 1, 1, 1), width=16).eval()


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"),
    [
        (100, 100, 0.25, [0]),
        (60, 100, 0.25, [0]),
        (101, 100, 0.25, [0, 1]),
        (175, 100, 0.25, [0, 75]),
        (176, 100, 0.25, [0, 38, 76]),
        (300, 100, 0.0, [0, 100, 200]),
        (5, 2, 0.9, [0, 1, 2, 3]),
    ],
)
def test_starts(length: int, window: int, overlap: float, starts: list[int]) -> None:
    assert window_starts(length, window, overlap) == starts


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_windows_cover_the_axis_and_share_enough(overlap: float) -> None:
    for length in range(32, 400, 7):
        starts = window_starts(length, 32, overlap)
        assert (starts[0], starts[-1]) == (0, length - 32)
        steps = np.diff(starts)
        assert (steps >= 1).all()
        assert (steps <= 32 * (1 - overlap) + 1).all(), "a pixel less than asked for, from rounding, is the most"


def test_logits_are_averaged_where_windows_overlap() -> None:
    network = Position()
    image = torch.randn(2, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    rows, columns, echo = SlidingWindows(network, (6, 6), 0.25)(image).unbind(dim=1)
    assert network.sizes == [(4, 3, 6, 6)], "windows at columns 0 and 4, of two images, in one batch"
    torch.testing.assert_close(echo, image[:, 0])
    torch.testing.assert_close(rows, torch.arange(6.0)[:, None].expand(2, 6, 10))
    expected = torch.tensor([0.0, 1, 2, 3, (4 + 0) / 2, (5 + 1) / 2, 2, 3, 4, 5])
    torch.testing.assert_close(columns, expected.expand(2, 6, 10))


@pytest.mark.parametrize(
    ("size_hw", "given"),
    [((4, 6), (1, 3, 4, 6)), ((6, 6), (1, 3, 6, 6)), ((3, 10), (2, 3, 3, 6)), ((20, 6), (5, 3, 6, 6))],
)
def test_an_axis_that_is_shorter_than_the_window_is_taken_whole(
    size_hw: tuple[int, int], given: tuple[int, ...]
) -> None:
    network = Position()
    assert SlidingWindows(network, (6, 6))(torch.zeros(1, 3, *size_hw)).shape == (1, 3, *size_hw)
    assert network.sizes == [given]


def test_lemore_sees_what_it_saw_in_training() -> None:
    network = lemore((64, 96))
    image = torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = SlidingWindows(network, (64, 96), 0)(image)
        tiles = [torch.cat([network(t) for t in row.chunk(2, dim=-1)], dim=-1) for row in image.chunk(2, dim=-2)]
        torch.testing.assert_close(whole, torch.cat(tiles, dim=-2), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(whole, network(image), atol=1e-5), "resized matrices are another thing"


def test_multiply_adds_are_those_of_all_windows() -> None:
    network = DWRSeg(4, sir_blocks=1, dwr2_blocks=1, dwr3_blocks=1)
    one = count_network(network, (64, 96))
    all_of_them = count_network(SlidingWindows(network, (64, 96), 0), (128, 288))
    assert (all_of_them.parameters, all_of_them.multiply_adds) == (one.parameters, 6 * one.multiply_adds)


def test_the_exported_graph_does_the_same() -> None:
    network = Context()
    graph = InferenceGraph(SlidingWindows(network, (48, 64)), Normalize()).eval()
    model = to_onnx(graph, (80, 150))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    noise = np.random.default_rng(0).integers(0, 256, (3, 80, 150, 3))
    # Ever brighter, so that each window has another mean.
    images = (noise * np.linspace(0, 1, 150)[:, None]).astype(np.uint8)
    with torch.no_grad():
        label, uncertainty = (output.numpy() for output in graph(torch.from_numpy(images)))
        whole, _ = InferenceGraph(network, Normalize()).eval()(torch.from_numpy(images))
    assert (whole.numpy() != label).mean() > 0.01, "without windows it would be another thing"
    got_label, got_uncertainty = session.run(None, {"image": images})
    assert (got_label == label).mean() > 0.999
    assert np.abs(got_uncertainty.astype(int) - uncertainty).max() <= 2


@pytest.mark.parametrize("overlap", [-0.1, 1.0])
def test_an_overlap_without_sense_is_refused(overlap: float) -> None:
    with pytest.raises(ValueError, match=f"overlap {overlap} is not from 0 up and below 1"):
        SlidingWindows(Position(), (32, 32), overlap)
