"""What every training run does around its steps: progress, log, evaluations, checkpoints, an end in order on a signal."""

from __future__ import annotations

import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.files import write_atomically
from training.checkpoint import save_checkpoint
from training.distributed import Process, any_process
from training.evaluation import autocast
from training.normalization import Normalize
from training.recipe import OptimizerSection
from training.run_log import RunLog

LOG_EVERY_STEPS = 20
SKIP_WINDOW_STEPS = 100
MAX_SKIPPED_IN_WINDOW = 25


class TrainingDivergedError(LwsegError):
    """Too many steps in a row had non-finite gradients."""


class LoopSettings(Protocol):
    """What the loop needs of a recipe."""

    @property
    def batch_size(self) -> int:
        """Images a step."""

    @property
    def seed(self) -> int:
        """Of everything random."""

    @property
    def precision(self) -> str:
        """``fp32`` or ``bf16``."""

    @property
    def checkpoint_every_steps(self) -> int:
        """How often last.pt is written."""

    @property
    def optimizer(self) -> OptimizerSection:
        """The optimizer's section."""

    def to_yaml(self) -> str:
        """Write the recipe out in full."""


R = TypeVar("R", bound=LoopSettings)


class TrainingLoop(ABC, Generic[R]):
    """The steps of a run, one after another.

    A subclass sets what stands below, then calls ``open_folder`` and ``distribute``.

    Attributes:
        network, normalize, loss: on the device; the loss takes the network's outputs and the labels.
        parallel: the network as a step calls it.
        optimizer: of the network's parameters.
        ema: the network's average, or None.
        steps_per_epoch, total_steps, evaluate_every: in steps.
    """

    network: nn.Module
    parallel: nn.Module
    normalize: Normalize
    loss: nn.Module
    optimizer: Optimizer
    ema: AveragedModel | None
    steps_per_epoch: int
    total_steps: int
    evaluate_every: int

    def __init__(self, recipe: R, out: Path, process: Process) -> None:
        self.recipe = recipe
        self.out = out
        self.process = process
        self.device = process.device
        self.log = RunLog(out / "log.jsonl")
        self.step = 0
        self.skipped = 0
        self.recently_skipped: deque[bool] = deque(maxlen=SKIP_WINDOW_STEPS)
        self.stop_requested = False
        self.seconds = 0.0

    @abstractmethod
    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield image and label of each step from ``step`` on."""

    @abstractmethod
    def learning_rate(self) -> float:
        """Return the learning rate of the current step."""

    @abstractmethod
    def evaluate(self) -> None:
        """Judge the network on the validation split and log it."""

    @abstractmethod
    def best_figure(self) -> float:
        """Return the best figure of the evaluations so far, for the progress bar."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return all that rebuilds this run at this step."""

    @abstractmethod
    def finish(self) -> dict[str, Any]:
        """Write the summary and return it in every process."""

    @abstractmethod
    def restore(self, path: Path) -> None:
        """Go back to the state in a checkpoint; raises RecipeError where it is that of another run."""

    def open_folder(self, *, resume: bool) -> None:
        """Make the output folder, or go on with the run in it; raises RecipeError where that is not what was asked for."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecipeError(
                f"cannot make the output folder {self.out} ({error.strerror}); choose another --out"
            ) from error
        last = self.out / "last.pt"
        if resume and last.is_file():
            self.restore(last)
        elif last.exists():
            raise RecipeError(f"{self.out} already holds a run; add --resume to go on with it, or choose another --out")
        if self.process.is_main:
            self.log.resume(self.step)
            write_atomically(self.out / "recipe.yaml", self.recipe.to_yaml().encode())

    def distribute(self) -> None:
        """Wrap the network, where there are several processes, so that all step alike; batch statistics are shared on GPUs."""
        if self.process.world_size == 1:
            self.parallel = self.network
            return
        if self.device.type == "cuda":
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        devices = [self.device] if self.device.type == "cuda" else None
        self.parallel = DistributedDataParallel(self.network, device_ids=devices)

    def fit(self) -> dict[str, Any]:
        """Train to the end of the schedule and return the summary; SIGTERM and SIGINT save and stop after the current step."""
        batches = self.batches()
        handlers = {number: signal.signal(number, self.request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        progress = tqdm(
            total=self.total_steps,
            initial=self.step,
            unit="step",
            disable=not self.process.is_main,
            smoothing=0.05,
            mininterval=1.0 if sys.stderr.isatty() else 30.0,
        )
        try:
            stopped = self.run_steps(batches, progress)
        finally:
            progress.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if stopped:
            self.save("last.pt")
            raise LwsegError(f"stopped at step {self.step} of {self.total_steps}; go on with --resume --out {self.out}")
        return self.finish()

    def run_steps(self, batches: Iterable[tuple[Tensor, Tensor]], progress: tqdm) -> bool:
        """Take the steps of the batches; log, evaluate and save on the way. Return whether it was told to stop."""
        losses: list[Tensor] = []
        norms: list[float] = []
        waited_s = worked_s = 0.0
        ready = time.perf_counter()
        for image, label in batches:
            begun = time.perf_counter()
            loss, norm = self.train_step(image, label)
            losses.append(loss)
            norms.append(norm)
            self.step += 1
            progress.update()
            waited_s += begun - ready
            worked_s += time.perf_counter() - begun
            if self.step % LOG_EVERY_STEPS == 0 or self.step == self.total_steps:
                self.seconds += waited_s + worked_s
                self.log_steps(losses, norms, waited_s, worked_s, progress)
                losses, norms, waited_s, worked_s = [], [], 0.0, 0.0
            if self.step % self.evaluate_every == 0 or self.step == self.total_steps:
                self.evaluate()
            if self.step % self.recipe.checkpoint_every_steps == 0 or self.step == self.total_steps:
                self.save("last.pt")
            if self.step < self.total_steps and any_process(self.process, self.stop_requested):
                return True
            ready = time.perf_counter()
        return False

    def train_step(self, image: Tensor, label: Tensor) -> tuple[Tensor, float]:
        """Take one step on uint8 images [n, H, W, 3] and their labels; return the loss and the gradient's norm.

        A step whose gradient is not finite changes no weight and is counted.
        """
        # Dropout and the like draw the same numbers at this step however often the run was interrupted.
        torch.manual_seed(self.recipe.seed + self.step * self.process.world_size + self.process.rank)
        self.parallel.train()
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        image = image.to(self.device, non_blocking=True)
        label = label.to(self.device, non_blocking=True).long()
        with autocast(self.device, self.recipe.precision):
            outputs = self.parallel(self.normalize(image).contiguous(memory_format=torch.channels_last))
        loss = self.loss(outputs, label)
        loss.backward()
        limit = self.recipe.optimizer.clip_norm or math.inf
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), limit))
        finite = math.isfinite(norm)
        if finite:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if finite and self.ema is not None:
            self.ema.update_parameters(self.network)
        self.count_skip(not finite)
        return loss.detach(), norm

    def count_skip(self, skipped: bool) -> None:
        """Count a step that changed nothing; raise when they pile up."""
        self.skipped += skipped
        self.recently_skipped.append(skipped)
        if sum(self.recently_skipped) > MAX_SKIPPED_IN_WINDOW:
            raise TrainingDivergedError(
                f"{sum(self.recently_skipped)} of the last {len(self.recently_skipped)} steps had non-finite gradients "
                f"at step {self.step}; "
                f"lower optimizer.lr (now {self.recipe.optimizer.lr}), set optimizer.clip_norm, or use precision=fp32"
            )

    def log_steps(
        self, losses: list[Tensor], norms: list[float], waited_s: float, worked_s: float, progress: tqdm
    ) -> None:
        """Log the means over the steps since the last entry."""
        finite = [norm for norm in norms if math.isfinite(norm)]
        entry = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 3),
            "loss": float(torch.stack(losses).nanmean()),
            "lr": self.learning_rate(),
            "grad_norm": sum(finite) / len(finite) if finite else None,
            "skipped_steps": self.skipped,
            "images_per_s": len(losses) * self.recipe.batch_size / (waited_s + worked_s),
            "loader_wait_share": waited_s / (waited_s + worked_s),
        }
        progress.set_postfix(
            epoch=entry["epoch"], loss=f"{entry['loss']:.3f}", best=f"{self.best_figure():.3f}", refresh=False
        )
        if self.process.is_main:
            self.log.append(**entry)

    def save(self, name: str) -> None:
        """Write a checkpoint from the main process."""
        if self.process.is_main:
            save_checkpoint(self.out / name, self.state())

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the loop to save and stop after the current step."""
        self.stop_requested = True
