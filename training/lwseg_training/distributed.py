"""One process of a run, alone or started by torchrun beside others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from lwseg_ros.errors import RecipeError
from lwseg_ros.evaluation.machine import cores, processor

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """Which process this is, of how many, on which device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """The GPU's name, or cpu."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @property
    def hardware(self) -> str:
        """What all processes of the run compute on, in words."""
        if self.device.type == "cpu":
            return f"{processor()}, {cores()} cores"
        return f"{self.world_size} x {self.device_name}" if self.world_size > 1 else self.device_name


def from_main(process: Process, value: T) -> T:
    """Return the main process's value in every process; all have to call it."""
    if process.world_size == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def any_process(process: Process, value: bool) -> bool:
    """Return in every process whether ``value`` is true in one of them; all have to call it."""
    if process.world_size == 1:
        return value
    flag = torch.tensor(int(value), device=process.device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return bool(flag)


def sum_over_processes(values: Tensor, world_size: int) -> Tensor:
    """Add up each element over the processes; all have to call it, and no gradient goes through it."""
    if world_size == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total


@contextmanager
def training_process(device: str = "auto") -> Iterator[Process]:
    """Join the run that torchrun started, if it did; yield what this process is.

    Args:
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises RecipeError where there is no GPU for this process.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    chosen = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        if chosen.index >= torch.cuda.device_count():
            raise RecipeError(
                f"this process wants CUDA device {chosen.index}, PyTorch {torch.__version__} sees "
                f"{torch.cuda.device_count()}; start fewer processes, use --device cpu, or install a PyTorch with CUDA"
            )
        torch.cuda.set_device(chosen)
    if world_size == 1:
        yield Process(rank, world_size, chosen)
        return
    # The others wait while the main process evaluates, which takes long on thousands of large images.
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(hours=6))
    try:
        yield Process(rank, world_size, chosen)
    finally:
        distributed.destroy_process_group()
