"""Labels of blocks of pixels: what their logits are, and the way to ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from lwseg_training.config.recipe import InferenceSection, load_recipe, resolve_recipe
from lwseg_training.engine.evaluation import as_inferred
from lwseg_training.export.export import input_size, to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks import build_network
from lwseg_training.networks.count import count_network
from lwseg_training.networks.label_blocks import LabelBlocks
from lwseg_training.networks.lite_seg import LiteSeg
from lwseg_training.networks.normalization import Normalize
from torch.nn import functional as F

from lwseg_ros.errors import RecipeError

SIZE_HW = (48, 80)


def lite_seg(finest: int) -> LiteSeg:
    torch.manual_seed(0)
    return LiteSeg(5, channels=16, finest=finest).eval()


@pytest.mark.parametrize(("finest", "step"), [(8, 2), (8, 4), (4, 2)])
def test_a_blocks_logits_are_the_mean_of_its_pixels(finest: int, step: int) -> None:
    network, image = lite_seg(finest), torch.randn(2, 3, *SIZE_HW)
    with torch.no_grad():
        network.classifier.weight /= (
            network(image).std(dim=(2, 3)).mean()
        )  # untrained logits hardly differ from place to place
        of_pixels, blocks = network(image), LabelBlocks(network, step)
        of_blocks, repeated = blocks.of_blocks(image), blocks(image)
    assert of_pixels.std(dim=(2, 3)).mean() > 0.5
    # Upsampled logits are bilinear within a block, whose border is where they bend.
    torch.testing.assert_close(of_blocks, F.avg_pool2d(of_pixels, step), atol=1e-3, rtol=1e-3)
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
    with pytest.raises(RecipeError, match="label_step=2 is of LiteSeg alone, not of a DWRSeg; set it to 1"):
        as_inferred(build_network("dwrseg_b", 4), InferenceSection(size_hw=(64, 96), label_step=2))
    with pytest.raises(
        RecipeError, match=r"label_step=4 has to be below the network's finest stride, 4; .*options\.finest=8"
    ):
        as_inferred(lite_seg(4), InferenceSection(size_hw=(64, 96), label_step=4))
    for image, step in (((1, 3, 48, 81), 2), ((1, 3, 48, 80), 8)):
        with pytest.raises(
            ValueError, match=f"a step of {step} is not below the stride 8, or does not divide it and 48 x 8"
        ):
            lite_seg(8)(torch.zeros(image), step)
    with pytest.raises(
        ValueError, match=r"label_step 4 wants a size_hw of multiples of it, not \(62, 96\); give such a size_hw"
    ):
        InferenceSection(size_hw=(62, 96), label_step=4)
    with pytest.raises(ValueError, match="label_step 2 wants a size_hw of multiples of it, not None"):
        InferenceSection(label_step=2)
    with pytest.raises(ValueError, match="which window_hw has none of: leave out one of them"):
        InferenceSection(size_hw=(64, 96), label_step=2, window_hw=(64, 64))
    with pytest.raises(ValueError, match="which upsample_logits has none of: leave out one of them"):
        InferenceSection(size_hw=(64, 96), label_step=2, upsample_logits=True)


def test_a_size_that_blocks_do_not_fit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    recipe = load_recipe(resolve_recipe("lite_seg0_lean_camvid"))
    with pytest.raises(
        RecipeError, match=r"label_step=2 wants a size of multiples of it, not 301x400 \(HxW\); choose another"
    ):
        input_size(recipe, tmp_path, (301, 400))
    assert input_size(recipe, tmp_path, (300, 400)) == (300, 400)


def test_blocks_cost_no_multiply_adds() -> None:
    network = lite_seg(8)
    assert count_network(LabelBlocks(network, 2), SIZE_HW) == count_network(network, SIZE_HW)
