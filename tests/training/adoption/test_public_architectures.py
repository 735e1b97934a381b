"""Public architectures with random weights, exported as their users do, publish what ONNX Runtime gives for their files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import support.torchvision_operators  # noqa: F401
import torch
from lwseg_training.adoption.adopt import Wish, adopt
from support.camvid_miniature import paint_scene
from support.foreign_graphs import Form, class_scores, foreign_output
from support.tiny_model import CLASSES
from torch import nn

from lwseg_ros.segmenter import Segmenter

smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="others' networks are missing: pip install 'lwseg_training[test]'"
)

SIZE_HW = (64, 96)
NEARLY_EQUAL = 1e-3  # scores whose difference rounding may turn round


def unet() -> nn.Module:
    """U-Net (Ronneberger et al., 2015) on MobileNetV2, three stages of it."""
    return smp.Unet(
        "mobilenet_v2", encoder_weights=None, encoder_depth=3, decoder_channels=(32, 16, 8), classes=len(CLASSES)
    )


def segformer() -> nn.Module:
    """SegFormer (Xie et al., 2021) on MiT-B0."""
    return smp.Segformer("mit_b0", encoder_weights=None, classes=len(CLASSES))


def export(network: nn.Module, path: Path, *, dynamo: bool) -> None:
    """Export by one of PyTorch's two ways: for any number of images with the weights in a second file, or for one image."""
    batch = (
        {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1, max=16)},), "external_data": True} if dynamo else {}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(2 if dynamo else 1, 3, *SIZE_HW),),
            path,
            dynamo=dynamo,
            verbose=False,
            opset_version=18 if dynamo else 13,
            **batch,
        )


@pytest.mark.parametrize(("build", "dynamo"), [(unet, True), (segformer, False)])
def test_published_labels_are_those_of_onnx_runtime_on_the_foreign_file(
    build: object, dynamo: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = build()
    for layer in network.modules():  # so that the labels of random weights are not one
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.5)
    export(network.eval(), tmp_path / "foreign.onnx", dynamo=dynamo)
    assert (tmp_path / "foreign.onnx.data").exists() is dynamo, "weights in a file beside it are read as well"
    form = Form(size_hw=SIZE_HW)
    adopted = adopt(tmp_path / "foreign.onnx", tmp_path / "model.onnx", CLASSES, Wish(form.mean, form.std))
    assert adopted.parity.equal_labels >= 0.999
    images = [paint_scene(seed, SIZE_HW)[0] for seed in range(2)]
    seen = set()
    for backend, share in (("onnxruntime", 0.9995), ("openvino", 0.98)):
        with Segmenter.open(tmp_path / "model.onnx", backend) as segmenter:
            published = segmenter.segment(images)
        for image, got in zip(images, published, strict=True):
            scores = class_scores(foreign_output(tmp_path / "foreign.onnx", form, image), SIZE_HW)
            label = scores.argmax(axis=2)
            seen |= {*np.unique(label).tolist()}
            different = got.label != label
            assert 1 - different.mean() >= share
            if backend == "onnxruntime":
                given = np.take_along_axis(scores, got.label[..., None].astype(int), axis=2)[..., 0]
                assert (scores.max(axis=2) - given).max() <= NEARLY_EQUAL
    assert len(seen) > 1
