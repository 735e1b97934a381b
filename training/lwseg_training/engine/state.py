"""What a run is at a step: how it begins, what a checkpoint holds of it, and how it comes back from there."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from lwseg_ros.errors import RecipeError
from lwseg_training.config.recipe import differing_in_training, differing_keys
from lwseg_training.engine.checkpoint import COMMON_FIELDS, load_checkpoint, load_weights, save_checkpoint
from lwseg_training.engine.freezing import freeze
from lwseg_training.engine.pretrained import load_pretrained
from lwseg_training.engine.provenance import source_commit
from lwseg_training.engine.task import Task
from lwseg_training.engine.warm_start import changed_since, check_unseen, fingerprint, load_warm_start
from lwseg_training.optim.ema import averaged
from lwseg_training.optim.optimizer import build_optimizer

SKIP_WINDOW_STEPS = 100


@dataclass
class TrainingState:
    """What changes while a run goes on."""

    network: nn.Module  # on the device
    optimizer: Optimizer
    ema: AveragedModel | None
    scaler: GradScaler  # of the loss in fp16; in other precisions it changes nothing
    start: str | None = None  # fingerprint of the checkpoint whose weights it started from
    teacher: str | None = None  # and of its teacher's
    step: int = 0
    best: float = -1.0  # value of the task's metric so far
    skipped: int = 0  # steps that changed no weight
    recently_skipped: deque[bool] = field(default_factory=lambda: deque(maxlen=SKIP_WINDOW_STEPS))
    seconds: float = 0.0  # without evaluations and checkpoints
    used_otherwise: bool = False  # finished before, and evaluated with other settings of how its network is used

    @property
    def evaluated_network(self) -> nn.Module:
        """The network that is evaluated and used: the average, if there is one."""
        return self.network if self.ema is None else self.ema.module


def initial_state(task: Task, *, warm_start: bool = True) -> TrainingState:
    """Build a run's network, its optimizer and its average, before the first step.

    ``warm_start``: load the weights that the recipe starts from. Raises CheckpointError or RecipeError where those do not fit,
    RecipeError where the device has not the recipe's precision.
    """
    recipe, device = task.recipe, task.process.device
    if recipe.precision == "fp16" and device.type == "cpu":
        raise RecipeError("precision: fp16 is trained in on GPUs only; choose bf16 or fp32 on a CPU")
    torch.manual_seed(recipe.seed)
    network, start = task.build_network(), None
    if warm_start and recipe.network.warm_start is not None:
        path = Path(recipe.network.warm_start)
        check_unseen(path, recipe.dataset)
        load_warm_start(network, path).print_from(task.process)
        start = fingerprint(path)
    if warm_start and recipe.network.pretrained is not None:
        load_pretrained(network, recipe.network.pretrained).print_from(task.process)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    freeze(network, recipe)  # before the optimizer and other processes ask what is trained
    optimizer = build_optimizer(network, recipe.optimizer)
    ema = averaged(network, recipe.ema_decay) if recipe.ema_decay > 0 else None
    scaler = GradScaler(device.type, enabled=recipe.precision == "fp16")
    teacher = recipe.learns_from.get("teacher") if warm_start else None
    return TrainingState(
        network, optimizer, ema, scaler, start, fingerprint(Path(teacher)) if teacher is not None else None
    )


def restored_state(task: Task, path: Path) -> TrainingState:
    """Go back to where a checkpoint was written; raises CheckpointError, and RecipeError where another run wrote it."""
    recipe, out, total_steps = task.recipe, path.parent, task.length.total_steps
    fields = (*COMMON_FIELDS, *task.checkpoint_fields(), f"best_{task.metric}")
    checkpoint = load_checkpoint(path, fields, task.command)
    differing = differing_in_training(recipe, checkpoint["recipe"])
    if differing:
        raise RecipeError(f"{out} was begun with another recipe; differing: {', '.join(differing)}")
    if checkpoint["total_steps"] != total_steps:
        raise RecipeError(
            f"{out} was begun as a run of {checkpoint['total_steps']} steps, with this data it has {total_steps}; "
            "resume with the data it was begun with, or choose another --out"
        )
    changed = changed_since(recipe, checkpoint)
    if changed:
        raise RecipeError(
            f"{out} was begun from other weights than {changed[0]} holds now; choose another --out, or remove the folder"
        )
    state = initial_state(task, warm_start=False)
    load_weights(state.network, checkpoint["network"], recipe.network.name)
    state.optimizer.load_state_dict(checkpoint["optimizer"])
    if state.ema is not None:
        state.ema.module.load_state_dict(checkpoint["ema"])
        state.ema.n_averaged.fill_(checkpoint["ema_updates"])
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(checkpoint["scaler"])
    state.start, state.teacher = checkpoint.get("start"), checkpoint.get("teacher")
    state.best = checkpoint[f"best_{task.metric}"]
    state.recently_skipped.extend(checkpoint["recently_skipped"])
    state.step, state.skipped, state.seconds = (checkpoint[name] for name in ("step", "skipped", "seconds"))
    state.used_otherwise = state.step == total_steps and bool(differing_keys(recipe, checkpoint["recipe"]))
    return state


def save_state(task: Task, state: TrainingState, path: Path) -> None:
    """Write a checkpoint in the main process: all that a state is restored from, and what export and others want to know."""
    if not task.process.is_main:
        return
    fields = {
        "recipe": task.recipe.model_dump(mode="json"),
        "commit": source_commit(),
        "start": state.start,
        "teacher": state.teacher,
        "step": state.step,
        "total_steps": task.length.total_steps,
        "epoch": state.step / task.length.steps_per_epoch,
        "network": state.network.state_dict(),
        "ema": state.ema.module.state_dict() if state.ema is not None else None,
        "ema_updates": int(state.ema.n_averaged) if state.ema is not None else 0,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        f"best_{task.metric}": state.best,
        "skipped": state.skipped,
        "recently_skipped": list(state.recently_skipped),
        "seconds": state.seconds,
        "torch_version": str(torch.__version__),
        **task.checkpoint_fields(),
    }
    save_checkpoint(path, fields)
