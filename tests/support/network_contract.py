"""The contract of a network, one function a clause. Each takes a builder, or a network that learned, and asserts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from lwseg_training.export.export import to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks.count import count_network
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB, Normalize
from lwseg_training.networks.registry import PublishedCount
from torch import Tensor, nn

from lwseg_ros.backends import BackendOptions, open_backend
from lwseg_ros.backends.tensorrt_builder import build_engine
from lwseg_ros.datasets.camvid import CAMVID_CLASSES
from lwseg_ros.model.model_file import Manifest, ModelFile, save_model
from support.camvid_miniature import paint_scene

Builder = Callable[[int], nn.Module]
"""Makes the network for a number of classes, with weights drawn from PyTorch's seed."""

NUM_CLASSES = len(CAMVID_CLASSES)
SIZE_HW = (48, 64)
GRADIENT_HW = (64, 96)  # more than one value at 1/64, or an attention there has nothing to choose from
MAX_BATCH = 3
OVERFITTED_IMAGES = 4
OVERFITTING_STEPS, OVERFITTING_LR = 60, 0.003


@dataclass(frozen=True)
class Overfitted:
    """A network trained on a few images, in eval mode, and its first and its last loss."""

    network: nn.Module
    first: float
    last: float

    def save(self, path: Path) -> None:
        torch.save({"weights": self.network.state_dict(), "first": self.first, "last": self.last}, path)

    @classmethod
    def load(cls, build: Builder, path: Path) -> Overfitted:
        saved = torch.load(path, weights_only=True)
        network = build(NUM_CLASSES).eval()
        network.load_state_dict(saved["weights"])
        return cls(network, saved["first"], saved["last"])


def scenes(count: int) -> tuple[Tensor, Tensor]:
    """Painted streets: image uint8 BGR [N, H, W, 3] and label int64 [N, H, W], the void strip cut off."""
    painted = [paint_scene(seed, (SIZE_HW[0] + 3, SIZE_HW[1])) for seed in range(count)]
    images = np.stack([image[: SIZE_HW[0]] for image, _ in painted])
    labels = np.stack([label[: SIZE_HW[0]] for _, label in painted])
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def overfit(build: Builder) -> Overfitted:
    """Train a network on the images that `learns` evaluates it on."""
    torch.manual_seed(0)
    network = build(NUM_CLASSES).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=OVERFITTING_LR)
    images, labels = scenes(OVERFITTED_IMAGES)
    inputs = Normalize()(images)
    losses = []
    for step in range(OVERFITTING_STEPS):
        for group in optimizer.param_groups:
            # Down to zero, so that the batch statistics kept are those of the last weights.
            group["lr"] = OVERFITTING_LR * min(1, 2 - 2 * step / OVERFITTING_STEPS)
        loss = nn.functional.cross_entropy(_heads(network(inputs))[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return Overfitted(network.eval(), losses[0], losses[-1])


def has_published_counts(build: Builder, published: PublishedCount) -> None:
    count = count_network(build(published.num_classes), published.size_hw)
    assert count.parameters / 1e6 == pytest.approx(published.millions, rel=published.parameters_within), "parameters"
    assert count.multiply_adds / 1e9 == pytest.approx(published.billions, rel=published.multiply_adds_within), (
        "multiply-adds"
    )


def has_logits_of_the_inputs_size(build: Builder, size_hw: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = build(5).eval()(torch.zeros(1, 3, *size_hw))
    assert isinstance(logits, Tensor)
    assert logits.shape == (1, 5, *size_hw)
    assert logits.dtype == torch.float32


def takes_each_image_by_itself(overfitted: Overfitted) -> None:
    inputs = Normalize()(scenes(MAX_BATCH)[0])
    with torch.no_grad():
        together = overfitted.network(inputs)
        alone = torch.cat([overfitted.network(inputs[index : index + 1]) for index in range(MAX_BATCH)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def has_a_gradient_in_every_parameter(build: Builder) -> None:
    torch.manual_seed(1)
    network = build(NUM_CLASSES).train()
    heads = _heads(network(torch.randn(2, 3, *GRADIENT_HW)))
    sum((head * torch.randn_like(head)).sum() for head in heads).backward()
    dead = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert dead == []


def learns(overfitted: Overfitted) -> None:
    images, labels = scenes(OVERFITTED_IMAGES)
    with torch.no_grad():
        accuracy = float((overfitted.network(Normalize()(images)).argmax(dim=1) == labels).float().mean())
    assert overfitted.last < overfitted.first / 2.5, "loss"
    # So few steps bring some networks to 0.9 and, by how many threads round, just above or below it.
    assert accuracy > 0.8, "accuracy"


def exported(overfitted: Overfitted, path: Path) -> ModelFile:
    """Write the network's model file."""
    manifest = Manifest(
        network=path.stem,
        classes=CAMVID_CLASSES,
        dataset="painted scenes",
        input_size_hw=SIZE_HW,
        mean_rgb=MEAN_RGB,
        std_rgb=STD_RGB,
    )
    return save_model(to_onnx(_graph(overfitted), SIZE_HW), manifest, path)


def gives_its_labels_in_every_cpu_runtime(overfitted: Overfitted, model: ModelFile) -> None:
    images, _ = scenes(MAX_BATCH)
    with torch.no_grad():
        label, uncertainty = (output.numpy() for output in _graph(overfitted)(images))
    assert len(np.unique(label)) > 2
    for runtime in ("onnxruntime", "openvino"):
        options = BackendOptions(max_batch=MAX_BATCH, num_threads=1, cpu_precision="fp32")
        backend = open_backend(model, runtime, options).backend
        got_label, got_uncertainty = backend.infer(images.numpy())
        backend.close()
        assert (got_label == label).mean() >= 0.999, runtime
        assert np.abs(got_uncertainty.astype(int) - uncertainty).max() <= 2, runtime


def builds_a_tensorrt_engine(model: ModelFile) -> None:
    # Every size of a batch would be a profile that is built by itself.
    assert len(build_engine(model, BackendOptions(max_batch=1))) > 1000


def follows_the_seed(build: Builder) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build(4).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def _graph(overfitted: Overfitted) -> InferenceGraph:
    return InferenceGraph(overfitted.network, Normalize()).eval()


def _heads(outputs: Tensor | list[Tensor]) -> list[Tensor]:
    """The prediction's logits first, then those of auxiliary heads."""
    return [outputs] if isinstance(outputs, Tensor) else outputs
