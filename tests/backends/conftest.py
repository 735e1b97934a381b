"""Model files, images and the fake GPU for the runtimes' tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.gpu_fixture import FakeGpu, fake_gpu
from support.tiny_model import painted_image, write_tiny_model

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.sample import SAMPLE_BAG


@pytest.fixture(scope="session")
def tiny_fp16_model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """The small model with its convolutions in half precision."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny_fp16.onnx", precision="fp16")


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Three images of the small model's size, uint8 BGR [3, 48, 64, 3]."""
    return np.stack([painted_image((48, 64), seed)[0] for seed in range(3)])


@pytest.fixture(scope="session")
def camera_images() -> list[np.ndarray]:
    """Six images of the sample bag, spread over its length, uint8 BGR [H, W, 3]."""
    with Bag(SAMPLE_BAG) as bag:
        messages = list(bag.messages(bag.image_topic("/camera/image/compressed")))
        return [bag.image(message) for message in messages[:: max(1, len(messages) // 5)][:6]]


@pytest.fixture
def full() -> Iterator[FakeGpu]:
    """The fake GPU with TensorRT."""
    with fake_gpu("tensorrt") as gpu:
        yield gpu


@pytest.fixture
def rtx() -> Iterator[FakeGpu]:
    """The fake GPU with TensorRT for RTX."""
    with fake_gpu("tensorrt_rtx") as gpu:
        yield gpu


@pytest.fixture(params=["full", "rtx"])
def gpu(request: pytest.FixtureRequest) -> FakeGpu:
    """The fake GPU with the one, then with the other."""
    found: FakeGpu = request.getfixturevalue(request.param)
    return found
