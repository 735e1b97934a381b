"""The contract of every registered network, clause by clause. A new network needs nothing here."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from filelock import FileLock
from lwseg_training.networks import NETWORKS, build_network
from support import network_contract as contract
from support.network_contract import Builder, Overfitted

from lwseg_ros.backends.tensorrt_builder import MISSING, installed_library, load_library
from lwseg_ros.errors import RecipeError
from lwseg_ros.model.model_file import ModelFile, load_model

every_network = pytest.mark.parametrize("name", list(NETWORKS))


def builder(name: str) -> Builder:
    return functools.partial(build_network, name)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of a test run share, so that each network learns once."""
    own = tmp_path_factory.getbasetemp()
    path = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "networks"
    path.mkdir(exist_ok=True)
    return path


@functools.cache
def overfitted(name: str, folder: Path) -> Overfitted:
    path = folder / f"{name}.pt"
    with FileLock(folder / f"{name}.lock"):
        if not path.exists():
            contract.overfit(builder(name)).save(path)
    return Overfitted.load(builder(name), path)


@functools.cache
def exported(name: str, folder: Path) -> ModelFile:
    path = folder / f"{name}.onnx"
    learned = overfitted(name, folder)
    with FileLock(folder / f"{name}.lock"):
        return load_model(path) if path.exists() else contract.exported(learned, path)


def test_every_network_has_its_paper() -> None:
    published = {"dwrseg_b", "dwrseg_l", "pmsdsen", "lemore", "deeplabv3plus_r50", "synergy"}
    assert published <= {name for name, entry in NETWORKS.items() if entry.count is not None}
    assert all(len(entry.paper) > 20 for entry in NETWORKS.values())


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if entry.count is not None])
def test_counts_are_the_published_ones(name: str) -> None:
    published = NETWORKS[name].count
    assert published is not None
    contract.has_published_counts(functools.partial(build_network, name, **published.options), published)


@every_network
@pytest.mark.parametrize("size_hw", [(97, 131), (360, 480), (32, 32)])
def test_logits_have_the_size_of_the_input(name: str, size_hw: tuple[int, int]) -> None:
    contract.has_logits_of_the_inputs_size(builder(name), size_hw)


@every_network
def test_eval_gives_each_image_the_same_alone_as_in_a_batch(name: str, folder: Path) -> None:
    contract.takes_each_image_by_itself(overfitted(name, folder))


@every_network
def test_gradient_reaches_every_parameter(name: str) -> None:
    contract.has_a_gradient_in_every_parameter(builder(name))


@every_network
def test_overfits_a_few_images(name: str, folder: Path) -> None:
    contract.learns(overfitted(name, folder))


@every_network
def test_exported_graph_gives_the_labels_of_pytorch_in_every_cpu_runtime(name: str, folder: Path) -> None:
    contract.gives_its_labels_in_every_cpu_runtime(overfitted(name, folder), exported(name, folder))


@every_network
@pytest.mark.skipif(installed_library() is None, reason=MISSING)
def test_exported_graph_builds_into_a_tensorrt_engine_without_a_gpu(name: str, folder: Path) -> None:
    if load_library().needs_device_to_build:
        pytest.skip("tensorrt builds on its device only; `tensorrt_rtx` needs none")
    contract.builds_a_tensorrt_engine(exported(name, folder))


@every_network
def test_the_same_seed_builds_the_same_weights(name: str) -> None:
    contract.follows_the_seed(builder(name))


def test_an_unknown_network_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=f"no network 'unet'; there are: {', '.join(NETWORKS)}"):
        build_network("unet", 19)


@every_network
def test_unknown_options_and_too_few_classes_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"network '{name}' does not take the options \{{'wings': 2\}}"):
        build_network(name, 19, wings=2)
    with pytest.raises(RecipeError, match="2 classes or more, not 1"):
        build_network(name, 1)
