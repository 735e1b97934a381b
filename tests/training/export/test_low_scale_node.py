"""The node with a multi-scale synergy: what it publishes as uncertainty is the doubt of the low scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")

from lwseg_training.export.export import to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB, Normalize
from lwseg_training.networks.synergy import Synergy
from support.camvid_miniature import paint_scene
from support.ros_harness import NodeProcess, Probe, image_message

from lwseg_ros.datasets.camvid import CAMVID_CLASSES, CAMVID_IGNORE_ID
from lwseg_ros.imaging import messages
from lwseg_ros.model.model_file import Manifest, save_model

pytestmark = pytest.mark.integration

SIZE_HW = (64, 96)
LABEL, UNCERTAINTY = "/segment/label", "/segment/uncertainty"


class SmallTrunk(nn.Module):
    """One convolution over 3 x 3 pixels: what it sees of the reduced image is not what it sees of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, len(CAMVID_CLASSES), 3, padding=1, bias=False)
        nn.init.normal_(self.convolution.weight, std=0.5, generator=torch.Generator().manual_seed(0))
        self.class_bias = nn.Parameter(torch.zeros(len(CAMVID_CLASSES)))

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(image) + self.class_bias.view(1, -1, 1, 1)


def write_synergy(path: Path) -> InferenceGraph:
    """Write the model file of a small synergy and return what it was made of."""
    graph = InferenceGraph(Synergy(SmallTrunk()), Normalize(), 1.5, "low_scale").eval()
    manifest = Manifest(
        network="synergy",
        classes=CAMVID_CLASSES,
        dataset="none: weights drawn at random",
        input_size_hw=SIZE_HW,
        mean_rgb=MEAN_RGB,
        std_rgb=STD_RGB,
        uncertainty_kind="low_scale",
        temperature=graph.temperature,
        ignore_id=CAMVID_IGNORE_ID,
    )
    save_model(to_onnx(graph, SIZE_HW), manifest, path)
    return graph


def test_the_node_publishes_the_low_scale_s_uncertainty(tmp_path: Path) -> None:
    graph = write_synergy(tmp_path / "synergy.onnx")
    of_both = InferenceGraph(graph.network, graph.normalize, graph.temperature, "least_confidence").eval()
    parameters = {"model": tmp_path / "synergy.onnx", "backend": "onnxruntime", "num_threads": 1}
    scenes = [paint_scene(seed, SIZE_HW)[0] for seed in range(3)]
    with NodeProcess(tmp_path, parameters):
        probe = Probe()
        try:
            for topic in (LABEL, UNCERTAINTY):
                probe.subscribe(topic)
            probe.connect("/image", lambda: image_message(scenes[0], stamp=probe.now()), LABEL, UNCERTAINTY)
            for scene in scenes:
                with torch.no_grad():
                    label, uncertainty = (output[0].numpy() for output in graph(torch.from_numpy(scene)[None]))
                    other = of_both(torch.from_numpy(scene)[None])[1][0].numpy()
                stamp = probe.publish("/image", image_message(scene, stamp=probe.now()))
                got_label = messages.view(probe.message_with_stamp(LABEL, stamp))
                got = messages.view(probe.message_with_stamp(UNCERTAINTY, stamp))
                assert (got_label == label).mean() >= 0.999
                assert np.abs(got.astype(int) - uncertainty).max() <= 2
                assert np.abs(got.astype(int) - other).mean() > 5, "nor is it the uncertainty of both scales"
                assert len(np.unique(got)) > 50
        finally:
            probe.close()
