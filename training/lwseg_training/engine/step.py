"""One step: forward, backward, and a move of the weights unless the gradient is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_training.distributed import Process, sum_over_processes
from lwseg_training.engine.batch_norm import synchronize_batch_norm
from lwseg_training.engine.evaluation import autocast
from lwseg_training.engine.freezing import freeze
from lwseg_training.engine.state import TrainingState
from lwseg_training.engine.task import Task
from lwseg_training.networks.feature_statistics import hook_feature_statistics

MAX_SKIPPED_IN_WINDOW = 25


class TrainingDivergedError(LwsegError):
    """Too many of the last steps had non-finite gradients."""


class TrainingStep:
    """Takes the steps of a task on its state; each process on its share of the batch, all of them alike.

    With the recipe's ``accumulate`` the share is gone through in parts, whose gradients add up to that of the whole. Each part has
    its own statistics of batch normalisation, whose running ones move once a part, and of `feature_statistics`, and its own pixels
    that OHEM and Lovasz-softmax rank. Raises RecipeError where the share does not divide into the parts.
    """

    def __init__(self, task: Task, state: TrainingState) -> None:
        share, parts = task.recipe.batch_size // task.process.world_size, task.recipe.accumulate
        if share % parts:
            raise RecipeError(
                f"accumulate: the {share} images of a process cannot be gone through in {parts} parts of one size; choose another"
            )
        self.task = task
        self.state = state
        self.parallel = _in_parallel(state.network, task.process)
        if task.recipe.feature_statistics is not None:
            hook_feature_statistics(state.network, task.recipe.feature_statistics)

    def take(self, image: Tensor, label: Tensor) -> tuple[Tensor, float]:
        """Take one step on uint8 images [n, H, W, 3] and their labels; return the loss and the gradient's norm before clipping.

        A step whose gradient is not finite changes no weight and is counted; raises TrainingDivergedError when they pile up.
        """
        task, state = self.task, self.state
        recipe, process = task.recipe, task.process
        # Dropout and the like draw the same numbers at this step however often the run was interrupted.
        torch.manual_seed(recipe.seed + state.step * process.world_size + process.rank)
        self.parallel.train()
        freeze(state.network, recipe)
        for group in state.optimizer.param_groups:
            group["lr"] = task.learning_rate(state.step) * group.get("lr_factor", 1.0)
        image = image.to(process.device, non_blocking=True)
        label = label.to(process.device, non_blocking=True).long()
        loss = torch.zeros((), device=process.device)
        for part in range(recipe.accumulate):
            last = part == recipe.accumulate - 1
            # Every so-manieth image, so that an auxiliary set's, which come last, are in all parts.
            own = slice(part, None, recipe.accumulate)
            with nullcontext() if last else self._no_gradient_exchange():
                loss += self._backward(image[own].contiguous(), label[own].contiguous(), label)
        state.scaler.unscale_(state.optimizer)
        limit = recipe.optimizer.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(state.network.parameters(), limit))
        finite = math.isfinite(norm)
        if finite:
            state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        if finite and state.ema is not None:
            state.ema.update_parameters(state.network)
        state.skipped += not finite
        state.recently_skipped.append(not finite)
        if sum(state.recently_skipped) > MAX_SKIPPED_IN_WINDOW:
            raise TrainingDivergedError(
                f"{sum(state.recently_skipped)} of the last {len(state.recently_skipped)} steps had non-finite gradients "
                f"at step {state.step}; "
                f"lower optimizer.lr (now {recipe.optimizer.lr}), set optimizer.clip_norm, or use precision=fp32"
            )
        state.step += 1
        return loss, norm

    def _backward(self, image: Tensor, label: Tensor, batch_label: Tensor) -> Tensor:
        """Add the gradient of a part of the batch, and return its share of the loss."""
        task = self.task
        with autocast(task.process.device, task.recipe.precision):
            outputs = self.parallel(task.normalize(image).contiguous(memory_format=torch.channels_last))
        loss = task.step_loss(outputs, image, label, batch_label)
        scaled: Tensor = self.state.scaler.scale(loss)
        scaled.backward()
        return loss.detach()

    def _no_gradient_exchange(self) -> AbstractContextManager[None]:
        """Let gradients add up in each process; the last part's backward exchanges them."""
        parallel = self.parallel
        return parallel.no_sync() if isinstance(parallel, DistributedDataParallel) else nullcontext()


@dataclass(frozen=True)
class TakenStep:
    """A step's loss and gradient norm, and the seconds that it waited for its samples and worked."""

    loss: Tensor
    gradient_norm: float
    waited_s: float
    worked_s: float


def log_entry(task: Task, state: TrainingState, steps: Sequence[TakenStep]) -> dict[str, Any]:
    """Return where a run is, and the means over the steps since the last entry; all processes have to call it."""
    world_size = task.process.world_size
    loss = sum_over_processes(torch.stack([step.loss for step in steps]), world_size) / world_size
    finite = [step.gradient_norm for step in steps if math.isfinite(step.gradient_norm)]
    waited_s = sum(step.waited_s for step in steps)
    seconds = waited_s + sum(step.worked_s for step in steps)
    return {
        "step": state.step,
        "epoch": round(state.step / task.length.steps_per_epoch, 3),
        "loss": float(loss.nanmean()),
        "lr": task.learning_rate(state.step),
        "grad_norm": sum(finite) / len(finite) if finite else None,
        "skipped_steps": state.skipped,
        "images_per_s": len(steps) * task.recipe.batch_size / seconds,
        "loader_wait_share": waited_s / seconds,
    }


def _in_parallel(network: nn.Module, process: Process) -> nn.Module:
    """Return the network as a step calls it: with the whole batch's statistics and gradient, where several processes share it.

    Its batch normalisations are changed in place.
    """
    if process.world_size == 1:
        return network
    network = synchronize_batch_norm(network, process.device)
    return DistributedDataParallel(network, device_ids=[process.device] if process.device.type == "cuda" else None)
