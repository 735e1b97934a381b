"""Work for two processes that share a batch: `torchrun --nproc-per-node 2 batch_shares.py DATA OUT`.

Writes OUT/RANK.pt and the folder of a training run, OUT/NAME, for each of RUNS.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.distributed import Process, training_process
from lwseg_training.engine.batch_norm import synchronize_batch_norm
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.losses.ohem import hard_example_mean
from torch import Tensor, nn

from support.camvid_miniature import miniature_recipe

STEPS = 4
RUNS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": {"kind": "sgd", "lr": 0.01}, "loss": {"class_weights": "inverse_log"}},
    # In the first three steps enough pixels are hard, in the last the least share decides; none lies at the threshold, where
    # rounding would decide.
    "ohem": {
        "optimizer": {"kind": "sgd", "lr": 0.01},
        "loss": {"kind": "ohem", "ohem_threshold": 0.1, "ohem_min_kept": 0.3},
    },
    # Statistics of two small images let rounding grow fast, so the steps are small.
    "parts": {"optimizer": {"kind": "sgd", "lr": 0.002}, "accumulate": 2},
    "muon": {"optimizer": {"kind": "muon", "lr": 0.002}},
}

SHAPES = ((3, 4, 5, 6), (1, 4, 2, 3))
NORMS = {
    "affine": {},
    "cumulative": {"momentum": None},
    "plain": {"affine": False},
    "untracked": {"track_running_stats": False},
}
PIXELS = 12
# Losses of process 0, losses of process 1, and the least share to keep; hard is what loses more than ln 2 (probability 0.5).
HARD_EXAMPLES: dict[str, tuple[list[float], list[float], float]] = {
    "hard": ([0.1, 0.9, 2.0, 1.5, 0.2], [0.8, 0.3], 0.1),
    "least": ([0.1, 0.9, 0.2, 0.3, 0.6], [0.5, 0.4], 0.5),
    "all of one process": ([0.1, 0.2, 0.05, 0.15], [0.6, 0.5], 0.3),
    "equals": ([0.4, 0.4, 0.1, 0.6], [0.4, 0.2], 0.5),
    "nothing counted in one": ([], [0.3, 0.2, 0.1], 0.6),
    "nothing counted": ([], [], 0.5),
}


def features(rank: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Features [N, 4, H, W] far from zero, of other sizes and other means in each process."""
    generator = torch.Generator().manual_seed(rank)
    offsets = torch.tensor([1000.0, -50.0, 0.0, 3.0]).view(4, 1, 1)
    return (torch.randn(SHAPES[rank], generator=generator) + rank + offsets).to(dtype)


def wanted(rank: int) -> Tensor:
    """What the sum of squares is taken to, so that the gradient is not zero."""
    return torch.randn(SHAPES[rank], generator=torch.Generator().manual_seed(10 + rank))


def build_norm(name: str) -> nn.Sequential:
    """Build the layer, its weights not those of a new one."""
    norm = nn.BatchNorm2d(4, **NORMS[name])
    if norm.affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
            norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5]))
    return nn.Sequential(norm)


def normalised(network: nn.Module, image: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Take two training passes and one in eval mode; return what comes out, the gradients and the statistics kept."""
    image = image.requires_grad_()
    for _ in range(2):
        network.zero_grad()
        image.grad = None
        output = network.train()(image)
        (output.float() - target).square().sum().backward()
    results = {"output": output.detach(), "gradient": image.grad, "eval": network.eval()(image).detach()}
    results.update({f"gradient of {name}": parameter.grad for name, parameter in network.named_parameters()})
    return {**results, **network.state_dict()}


def hard_loss(values: list[float], min_kept: float, world_size: int = 1) -> tuple[Tensor, Tensor]:
    """Return the loss of an image [1, 1, 12] whose first pixels have these losses and the rest none, and its gradient."""
    loss = torch.full((1, 1, PIXELS), 5.0)
    loss[..., : len(values)] = torch.tensor(values)
    counted = torch.arange(PIXELS).view(1, 1, -1) < len(values)
    loss.requires_grad_()
    value = hard_example_mean(loss, (-loss).exp().detach(), counted, 0.5, min_kept, world_size)
    value.backward()
    return value.detach(), loss.grad[0, 0, : len(values)]


def train(name: str, data: Path, out: Path, process: Process) -> None:
    """Train as one of RUNS says."""
    recipe = parse_recipe(miniature_recipe(**RUNS[name], schedule={"steps": STEPS}))
    fit(SegmentationTask(recipe, data, process), out / name)


def main(data: Path, out: Path) -> None:
    """Run every case in this process's share and write the results."""
    with training_process("cpu") as process:
        rank = process.rank
        results = {
            name: normalised(synchronize_batch_norm(build_norm(name), process.device), features(rank), wanted(rank))
            for name in NORMS
        }
        network = synchronize_batch_norm(build_norm("affine"), process.device)
        results["bfloat16"] = normalised(network, features(rank, torch.bfloat16), wanted(rank))
        try:
            network.train()(torch.zeros(1 - rank, 4, 1, 1))
        except ValueError as error:
            results["refused"] = str(error)
        for name, (*values, min_kept) in HARD_EXAMPLES.items():
            results[name] = hard_loss(values[rank], min_kept, process.world_size)
        for name in RUNS:
            train(name, data, out, process)
        torch.save(results, out / f"{rank}.pt")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
