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
from torch import Tensor
from tqdm import tqdm

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.files import write_atomically
from training.checkpoint import save_checkpoint
from training.distributed import Process, any_process
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

    A subclass builds what is trained, sets ``steps_per_epoch``, ``total_steps`` and ``evaluate_every`` (steps), and says what a
    step and an evaluation are.
    """

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
    def train_step(self, image: Tensor, label: Tensor) -> tuple[Tensor, float]:
        """Take one step; return the loss and the gradient's norm."""

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
