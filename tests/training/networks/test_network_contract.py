"""The contract suite itself: a sound little network meets every clause, and one that breaks a clause fails it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lwseg_training.networks.layers import ConvBN, resize_bilinear
from lwseg_training.networks.registry import PublishedCount
from support import network_contract as contract
from support.network_contract import Overfitted
from torch import Tensor, nn

from lwseg_ros.backends.tensorrt_builder import MISSING, installed_library, load_library
from lwseg_ros.errors import BackendError
from lwseg_ros.model.model_file import ModelFile

ODD_HW = (37, 51)
# At half of 64 x 96: (27 + 288) x 32 + 32 x 5 multiply-adds a pixel, and a little normalisation.
PUBLISHED = PublishedCount(0.010373, 1536 * 10240 / 1e9, (64, 96), 5, parameters_within=0)


class Sound(nn.Module):
    """Two convolutions at half the size and a classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvBN(3, 32, 3, stride=2), ConvBN(32, 32, 3))
        self.classifier = nn.Conv2d(32, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        return resize_bilinear(self.classifier(self.features(image)), (image.shape[-2], image.shape[-1]))


class Wider(Sound):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.features.append(ConvBN(32, 32))


class TwiceTheFeatures(Sound):
    """Right for even sizes only."""

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(self.classifier(self.features(image)), scale_factor=2.0, mode="bilinear")


class HalfPrecision(Sound):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).bfloat16()


class Unused(Sound):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.forgotten = nn.Parameter(torch.ones(3))


class ZeroGradient(Sound):
    """A gradient is there, and says nothing."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + 0 * self.scale


class Blind(Sound):
    """Sees no more than the mean colour."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.mean(dim=(2, 3), keepdim=True).expand_as(image))


class BatchStatistics(Sound):
    """Normalises by the batch in eval mode too."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats, module.running_mean, module.running_var = False, None, None


class OtherWhenExported(Sound):
    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits.flip(1) if torch.compiler.is_exporting() else logits


class BitsOfItsInput(Sound):
    """ONNX and the CPU runtimes know the operator, TensorRT does not."""

    def forward(self, image: Tensor) -> Tensor:
        image = image.clamp(-4, 4)
        return super().forward(image) + 0 * (image[:, :1] * 8).int().bitwise_and(7).float()


class OwnGenerator(Sound):
    """Draws from other numbers than those that the seed gives."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(self.classifier.weight, generator=generator)


@pytest.fixture(scope="module")
def sound() -> Overfitted:
    return contract.overfit(Sound)


@pytest.fixture(scope="module")
def sound_model(sound: Overfitted, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return contract.exported(sound, tmp_path_factory.mktemp("contract") / "sound.onnx")


def in_disguise(overfitted: Overfitted, network: nn.Module) -> Overfitted:
    """Give a network the weights that the sound one learned."""
    network.load_state_dict(overfitted.network.state_dict(), strict=False)
    return replace(overfitted, network=network.eval())


def fails(clause: Callable[..., None], *arguments: object, match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        clause(*arguments)


def test_counts() -> None:
    contract.has_published_counts(Sound, PUBLISHED)
    fails(contract.has_published_counts, Wider, PUBLISHED, match="^parameters")
    fewer = replace(PUBLISHED, billions=PUBLISHED.billions * 0.9)
    fails(contract.has_published_counts, Sound, fewer, match="^multiply-adds")


def test_size_and_type_of_the_logits() -> None:
    contract.has_logits_of_the_inputs_size(Sound, ODD_HW)
    fails(contract.has_logits_of_the_inputs_size, TwiceTheFeatures, ODD_HW, match="38, 52")
    contract.has_logits_of_the_inputs_size(TwiceTheFeatures, (32, 48))
    fails(contract.has_logits_of_the_inputs_size, HalfPrecision, ODD_HW, match="float32")


def test_each_image_by_itself(sound: Overfitted) -> None:
    contract.takes_each_image_by_itself(sound)
    broken = in_disguise(sound, BatchStatistics(contract.NUM_CLASSES))
    fails(contract.takes_each_image_by_itself, broken, match="not close")


def test_gradients() -> None:
    contract.has_a_gradient_in_every_parameter(Sound)
    fails(contract.has_a_gradient_in_every_parameter, Unused, match="forgotten")
    fails(contract.has_a_gradient_in_every_parameter, ZeroGradient, match="scale")


def test_learning(sound: Overfitted) -> None:
    contract.learns(sound)
    blind = contract.overfit(Blind)
    fails(contract.learns, blind, match="^loss")
    fails(contract.learns, replace(blind, last=0.0), match="^accuracy")


def test_labels_in_every_runtime(sound: Overfitted, sound_model: ModelFile, tmp_path: Path) -> None:
    contract.gives_its_labels_in_every_cpu_runtime(sound, sound_model)
    broken = in_disguise(sound, OtherWhenExported(contract.NUM_CLASSES))
    model = contract.exported(broken, tmp_path / "broken.onnx")
    fails(contract.gives_its_labels_in_every_cpu_runtime, broken, model, match="onnxruntime")


@pytest.mark.skipif(installed_library() is None, reason=MISSING)
def test_tensorrt_engine(sound: Overfitted, sound_model: ModelFile, tmp_path: Path) -> None:
    if load_library().needs_device_to_build:
        pytest.skip("tensorrt builds on its device only; `tensorrt_rtx` needs none")
    contract.builds_a_tensorrt_engine(sound_model)
    broken = in_disguise(sound, BitsOfItsInput(contract.NUM_CLASSES))
    model = contract.exported(broken, tmp_path / "broken.onnx")
    contract.gives_its_labels_in_every_cpu_runtime(broken, model)
    with pytest.raises(BackendError, match="cannot read"):
        contract.builds_a_tensorrt_engine(model)


def test_seed() -> None:
    contract.follows_the_seed(Sound)
    fails(contract.follows_the_seed, OwnGenerator, match="all")
