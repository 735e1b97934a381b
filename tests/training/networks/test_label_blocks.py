"""Labels of blocks of pixels: what their logits are, and the way to ONNX."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from lwseg_training.config.recipe import InferenceSection
from lwseg_training.engine.evaluation import as_inferred
from lwseg_training.export.export import to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks import build_network
from lwseg_training.networks.label_blocks import LabelBlocks
from lwseg_training.networks.lite_seg import LiteSeg
from lwseg_training.networks.normalization import Normalize
from torch.nn import functional as F

from lwseg_ros.errors import RecipeError

SIZE_HW = (48, 80)


def lite_seg(finest: int) -> LiteSeg:
    torch.manual_seed(0)
    return LiteSeg(5, channels=16, finest=finest).eval()


@pytest.mark.parametrize(("finest", "step"), [(8, 2), (8, 4), (4, 2), (4, 4)])
def test_a_blocks_logits_are_the_mean_of_its_pixels(finest: int, step: int) -> None:
    network, image = lite_seg(finest), torch.randn(2, 3, *SIZE_HW)
    with torch.no_grad():
        of_pixels, blocks = network(image), LabelBlocks(network, step)
        of_blocks, repeated = blocks.of_blocks(image), blocks(image)
    # Upsampled logits are bilinear within a block, whose border is where they bend.
    torch.testing.assert_close(of_blocks, F.avg_pool2d(of_pixels, step), atol=1e-4, rtol=1e-4)
    assert repeated.shape == of_pixels.shape
    assert torch.equal(repeated, F.interpolate(of_blocks, scale_factor=step, mode="nearest"))


def test_the_graph_tells_a_label_and_an_uncertainty_of_each_block() -> None:
    network = lite_seg(8)
    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE_HW, 3), dtype=np.uint8)
    graph = InferenceGraph(LabelBlocks(network, 2), Normalize("fixed", 1.0), 1.5).eval()
    session = onnxruntime.InferenceSession(to_onnx(graph, SIZE_HW).SerializeToString())
    label, uncertainty = session.run(None, {"image": images})
    with torch.no_grad():
        probabilities = (graph.logits(torch.from_numpy(images)) / 1.5).softmax(dim=1)
    assert label.shape == uncertainty.shape == images.shape[:3]
    assert (label == probabilities.argmax(dim=1).numpy()).mean() > 0.999
    expected = 255 * (1 - probabilities.amax(dim=1).numpy()) * 5 / 4
    assert np.abs(uncertainty - expected).max() < 1
    for of_pixels in (label, uncertainty):
        assert np.array_equal(of_pixels, of_pixels[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))


def test_what_has_no_blocks_is_refused() -> None:
    with pytest.raises(RecipeError, match="label_step=2 is of LiteSeg alone, not of a DWRSeg; leave it out"):
        as_inferred(build_network("dwrseg_b", 4), InferenceSection(size_hw=(64, 96), label_step=2))
    with pytest.raises(ValueError, match=r"label_step 4 wants a size_hw of multiples of it, not \(62, 96\)"):
        InferenceSection(size_hw=(62, 96), label_step=4)
    with pytest.raises(ValueError, match="label_step 2 wants a size_hw of multiples of it, not None"):
        InferenceSection(label_step=2)
    with pytest.raises(ValueError, match="leave out label_step or window_hw"):
        InferenceSection(size_hw=(64, 96), label_step=2, window_hw=(64, 64))
