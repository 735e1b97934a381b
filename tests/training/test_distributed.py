"""Which device a training process gets; and two processes, started by torchrun, against one with the same total batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.data.samples import StepSampler, TrainingSamples, training_loader
from lwseg_training.distributed import Process, training_process
from lwseg_training.engine.batch_norm import SynchronizedBatchNorm2d, synchronize_batch_norm
from lwseg_training.engine.checkpoint import load_checkpoint, network_of
from lwseg_training.networks import NETWORKS, build_network
from support import batch_shares
from support.batch_shares import (
    HARD_EXAMPLES,
    NORMS,
    RUNS,
    STEPS,
    build_norm,
    features,
    hard_loss,
    normalised,
    train,
    wanted,
)
from support.camvid_miniature import miniature_recipe, write_miniature
from torch import Tensor, nn

from lwseg_ros.datasets.camvid import CAMVID_IGNORE_ID
from lwseg_ros.errors import RecipeError

CPU = torch.device("cpu")
ALONE = Process(0, 1, CPU)
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="session")
def half_labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature CamVid whose every second training label is all but empty."""
    root = write_miniature(tmp_path_factory.mktemp("half_labelled"))
    for path in sorted((root / "trainannot").iterdir())[::2]:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[:, 20:] = CAMVID_IGNORE_ID
        assert cv2.imwrite(str(path), label)
    return root


@pytest.fixture(scope="session")
def shares_folder(half_labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What batch_shares.py left behind, run by two processes."""
    out = tmp_path_factory.mktemp("shares")
    done = subprocess.run(
        [*TORCHRUN, batch_shares.__file__, str(half_labelled), str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def shares(shares_folder: Path) -> list[dict[str, Any]]:
    """The results of each process."""
    return [torch.load(shares_folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def in_one_row(pair: list[Tensor]) -> Tensor:
    """The pixels [1, C, 1, P] of two batches [N, C, H, W] of any sizes."""
    return torch.cat([batch.movedim(1, 0).flatten(1) for batch in pair], dim=1)[None, :, None]


def test_alone_it_is_the_main_process() -> None:
    with training_process("cpu") as process:
        assert (process.rank, process.world_size, process.device, process.is_main) == (0, 1, CPU, True)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = torch.cuda.device_count()
    monkeypatch.setenv("LOCAL_RANK", str(count))
    with (
        pytest.raises(
            RecipeError, match=rf"wants CUDA device {count}, .* sees {count}; start fewer processes, use --dev"
        ),
        training_process("cuda"),
    ):
        pass


def test_the_two_shares_of_a_batch_hold_unequal_numbers_of_labelled_pixels(half_labelled: Path) -> None:
    recipe = parse_recipe(miniature_recipe(**RUNS["sgd"], schedule={"steps": STEPS}))
    split, _ = load_splits(recipe.dataset, half_labelled)
    samples = TrainingSamples(LabelledImages(split), recipe, STEPS)
    batches = training_loader(samples, StepSampler(4, 0, STEPS), 0, pin=False)
    counted = [[int((share != IGNORE).sum()) for share in label.split(2)] for _, label in batches]
    assert any(max(pair) > 1.5 * min(pair) for pair in counted), counted


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_what_one_learns(
    name: str, half_labelled: Path, shares_folder: Path, tmp_path: Path
) -> None:
    train(name, half_labelled, tmp_path, ALONE)
    expected, state = (load_checkpoint(out / name / "last.pt") for out in (tmp_path, shares_folder))
    for part in ("network", "ema"):
        assert list(state[part]) == list(expected[part])
        far = torch.cat([((state[part][key] - value).abs() > 1e-4).flatten() for key, value in expected[part].items()])
        # Muon and AdamW take a whole step along a gradient that is nothing but rounding, such as that of a few biases.
        assert float(far.double().mean()) <= (0.001 if name == "muon" else 0), part
    logs = [[json.loads(line) for line in (out / name / "log.jsonl").open()] for out in (tmp_path, shares_folder)]
    assert [entry["step"] for entry in logs[1]] == [STEPS, STEPS], "one process logs: the steps, then the figures"
    for key in ("loss", "grad_norm"):
        assert logs[1][0][key] == pytest.approx(logs[0][0][key], rel=1e-3)
    assert logs[1][1]["miou"] == pytest.approx(logs[0][1]["miou"], abs=0.01)
    network_of(state)  # it loads where there is one process


@pytest.mark.parametrize("name", NORMS)
def test_batch_statistics_are_those_of_both_shares(name: str, shares: list[dict[str, Any]]) -> None:
    network = build_norm(name)
    expected = normalised(network, *(in_one_row([of(0), of(1)]) for of in (features, wanted)))
    got = [share[name] for share in shares]
    assert got[0].keys() == expected.keys()
    for key in ("output", "gradient"):
        torch.testing.assert_close(in_one_row([share[key] for share in got]), expected[key], rtol=1e-4, atol=1e-3)
    if network[0].track_running_stats:
        torch.testing.assert_close(in_one_row([share["eval"] for share in got]), expected["eval"], rtol=1e-4, atol=1e-3)
    for key in expected.keys() - {"output", "gradient", "eval"}:
        if key.startswith("gradient of"):
            torch.testing.assert_close(got[0][key] + got[1][key], expected[key], rtol=1e-4, atol=1e-3)
        else:
            torch.testing.assert_close(got[0][key], expected[key], rtol=1e-5, atol=1e-6)
            assert torch.equal(got[0][key], got[1][key]), key


def test_bfloat16_is_normalised_by_statistics_in_float32(shares: list[dict[str, Any]]) -> None:
    inputs = in_one_row([features(0, torch.bfloat16), features(1, torch.bfloat16)])
    expected = normalised(build_norm("affine"), inputs.float(), in_one_row([wanted(0), wanted(1)]))
    for key in ("output", "gradient"):
        got = in_one_row([share["bfloat16"][key] for share in shares])
        assert got.dtype == torch.bfloat16
        torch.testing.assert_close(got.float(), expected[key], rtol=0.02, atol=0.05)
    torch.testing.assert_close(shares[0]["bfloat16"]["0.running_var"], expected["0.running_var"], rtol=1e-4, atol=1e-4)


def test_one_value_a_channel_is_refused_in_every_process(shares: list[dict[str, Any]]) -> None:
    assert all("want more than one value a channel" in share["refused"] for share in shares)


@pytest.mark.parametrize("name", HARD_EXAMPLES)
def test_hard_pixels_are_counted_and_ranked_over_both_shares(name: str, shares: list[dict[str, Any]]) -> None:
    *values, min_kept = HARD_EXAMPLES[name]
    expected, gradient = hard_loss(values[0] + values[1], min_kept)
    losses, gradients = zip(*(share[name] for share in shares), strict=True)
    assert float(sum(losses) / 2) == pytest.approx(float(expected), rel=1e-6)
    got = torch.cat(gradients) / 2
    if name == "equals":  # one process takes any of them; the sum is the same
        assert got.tolist() == pytest.approx([2 / 9, 2 / 9, 0, 1 / 3, 2 / 9, 0])
        gradient, got = gradient.sum(), got.sum()
    torch.testing.assert_close(got, gradient)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_batch_norm_of_every_network_is_synchronised_with_its_state(name: str) -> None:
    network = build_network(name, 5)
    before = {id(parameter) for parameter in network.parameters()}
    keys = list(network.state_dict())
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    synchronize_batch_norm(network, CPU)
    assert norms
    assert all(type(module) is SynchronizedBatchNorm2d for module in norms)
    assert {id(parameter) for parameter in network.parameters()} == before
    assert list(network.state_dict()) == keys
    build_network(name, 5).load_state_dict(network.state_dict())
    assert synchronize_batch_norm(network, CPU) is network, "again is harmless"


def test_a_batch_norm_that_cannot_be_synchronised_is_refused() -> None:
    class Special(nn.BatchNorm2d):
        pass

    for module in (nn.BatchNorm1d(3), Special(3)):
        with pytest.raises(
            TypeError, match=rf"1 is a {type(module).__name__}; among CPU processes only BatchNorm2d is"
        ):
            synchronize_batch_norm(nn.Sequential(nn.ReLU(), module), CPU)
