"""What every training run does around its steps: progress, log, evaluations, checkpoints, an end in order on a signal."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.evaluation.machine import cores, processor
from lwseg_ros.files import write_atomically
from lwseg_training.config.recipe import TrainingSettings, differing_in_training, differing_keys
from lwseg_training.engine.allocator import keep_freed_memory
from lwseg_training.engine.batch_norm import synchronize_batch_norm
from lwseg_training.engine.checkpoint import load_weights, save_checkpoint
from lwseg_training.engine.distributed import Process, any_process, from_main, sum_over_processes
from lwseg_training.engine.evaluation import autocast
from lwseg_training.engine.frozen_batch_norm import freeze_batch_norm
from lwseg_training.engine.provenance import source_commit
from lwseg_training.engine.run_log import RunLog
from lwseg_training.engine.warm_start import fingerprint, load_initial_weights, started_elsewhere
from lwseg_training.networks.normalization import Normalize
from lwseg_training.optim.ema import averaged
from lwseg_training.optim.optimizer import build_optimizer

LOG_EVERY_STEPS = 20
SKIP_WINDOW_STEPS = 100
MAX_SKIPPED_IN_WINDOW = 25


class TrainingDivergedError(LwsegError):
    """Too many steps in a row had non-finite gradients."""


class TrainingStoppedError(LwsegError):
    """A signal stopped a run, which was saved and can be gone on with."""


R = TypeVar("R", bound=TrainingSettings)


class TrainingLoop(ABC, Generic[R]):
    """The steps of a run, one after another.

    A subclass sets what stands below (the steps by ``count_steps``, what belongs to the network by ``take``), then calls
    ``open_folder`` and ``distribute``.

    Attributes:
        figure: which figure of an evaluation makes it the best, the higher the better.
        curves: the figures that are drawn, with their names in words.
        network, normalize, loss: on the device; the loss takes the network's outputs and the labels.
        parallel: the network as a step calls it.
        optimizer: of the network's parameters.
        ema: the network's average, or None.
        steps_per_epoch, total_steps, warmup_steps, evaluate_every: in steps.
    """

    figure: ClassVar[str]
    curves: ClassVar[dict[str, str]]
    network: nn.Module
    parallel: nn.Module
    normalize: Normalize
    loss: nn.Module
    optimizer: Optimizer
    ema: AveragedModel | None
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    evaluate_every: int

    def __init__(self, recipe: R, dataset: str, out: Path, process: Process) -> None:
        self.recipe = recipe
        self.dataset = dataset
        self.out = out
        self.process = process
        self.device = process.device
        self.log = RunLog(out / "log.jsonl")
        self.start: str | None = None  # fingerprint of the checkpoint whose weights it started from
        self.step = 0
        self.best = -1.0
        self.skipped = 0
        self.recently_skipped: deque[bool] = deque(maxlen=SKIP_WINDOW_STEPS)
        self.stop_requested = False
        self.seconds = 0.0
        self.used_otherwise = False  # it was finished before, and judged with other settings of how its network is used
        source_commit()  # now: by the first checkpoint the source may be another than what is running
        if self.device.type == "cpu":
            keep_freed_memory()
        else:
            torch.backends.cudnn.benchmark = True  # crops have one size, or two

    @abstractmethod
    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield image and label of each step from ``step`` on."""

    @abstractmethod
    def learning_rate(self) -> float:
        """Return the learning rate of the current step."""

    @abstractmethod
    def evaluate(self) -> None:
        """Judge the network, averaged if there is an average, in the main process, and ``record`` its figures."""

    @abstractmethod
    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint of such a run; raises CheckpointError where it is none."""

    @abstractmethod
    def judged(self) -> dict[str, Any]:
        """Say for the summary what is judged on, and how many images there are."""

    def count_steps(self, images: int) -> None:
        """Work out the steps of an epoch of so many images, of the run, of its warm-up, and between evaluations."""
        schedule = self.recipe.schedule
        self.steps_per_epoch = max(1, math.ceil(images / self.recipe.batch_size))
        self.total_steps = schedule.steps or max(1, round((schedule.epochs or 0) * self.steps_per_epoch))
        self.warmup_steps = schedule.warmup_steps or round((schedule.warmup_epochs or 0) * self.steps_per_epoch)
        self.evaluate_every = max(1, round(self.recipe.evaluate_every_epochs * self.steps_per_epoch))

    def take(self, network: nn.Module, *, resume: bool) -> None:
        """Take a network for training: its initial weights unless a run is gone on with, its device, optimizer and average."""
        recipe = self.recipe
        if recipe.network.initial_weights is not None and not (resume and (self.out / "last.pt").is_file()):
            start = Path(recipe.network.initial_weights)
            self.check_start(start)
            load_initial_weights(network, start).print_from(self.process)
            self.start = fingerprint(start)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalize = Normalize(recipe.normalization).to(self.device)
        if recipe.freeze_batch_norm:
            freeze_batch_norm(self.network)  # before the optimizer and other processes ask what is trained
        self.optimizer = build_optimizer(self.network, recipe.optimizer)
        self.ema = averaged(self.network, recipe.ema_decay) if recipe.ema_decay > 0 else None

    def check_start(self, path: Path) -> None:
        """Refuse a checkpoint that this run must not start from."""

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
            self.restore(self.load(last))
        elif last.exists():
            raise RecipeError(f"{self.out} already holds a run; add --resume to go on with it, or choose another --out")
        if self.process.is_main:
            self.log.resume(self.step)
            write_atomically(self.out / "recipe.yaml", self.recipe.to_yaml().encode())

    def distribute(self) -> None:
        """Wrap the network, where there are several processes, so that all step by the whole batch's statistics and gradient."""
        if self.process.world_size == 1:
            self.parallel = self.network
            return
        self.network = synchronize_batch_norm(self.network, self.device)
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
            raise TrainingStoppedError(
                f"stopped at step {self.step} of {self.total_steps}; go on with --resume --out {self.out}"
            )
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
        if self.recipe.freeze_batch_norm:
            freeze_batch_norm(self.network)
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
        loss = sum_over_processes(torch.stack(losses), self.process.world_size) / self.process.world_size
        entry = {
            "step": self.step,
            "epoch": round(self.step / self.steps_per_epoch, 3),
            "loss": float(loss.nanmean()),
            "lr": self.learning_rate(),
            "grad_norm": sum(finite) / len(finite) if finite else None,
            "skipped_steps": self.skipped,
            "images_per_s": len(losses) * self.recipe.batch_size / (waited_s + worked_s),
            "loader_wait_share": waited_s / (waited_s + worked_s),
        }
        progress.set_postfix(epoch=entry["epoch"], loss=f"{entry['loss']:.3f}", best=f"{self.best:.3f}", refresh=False)
        if self.process.is_main:
            self.log.append(**entry)

    def record(self, **figures: Any) -> None:
        """Log an evaluation's figures, draw the curves, and keep the network if it is the best so far."""
        self.log.append(step=self.step, **figures)
        if figures[self.figure] > self.best:
            self.best = figures[self.figure]
            self.save("best.pt")
        title = f"{self.recipe.network.name} on {self.dataset}"
        self.log.draw(self.out / "curves.png", title, self.curves)

    def state(self) -> dict[str, Any]:
        """Return all that rebuilds this run at this step."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "commit": source_commit(),
            "start": self.start,
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.step / self.steps_per_epoch,
            "network": self.network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema is not None else None,
            "ema_updates": int(self.ema.n_averaged) if self.ema is not None else 0,
            "optimizer": self.optimizer.state_dict(),
            f"best_{self.figure}": self.best,
            "skipped": self.skipped,
            "recently_skipped": list(self.recently_skipped),
            "seconds": self.seconds,
            "torch_version": str(torch.__version__),
        }

    def save(self, name: str) -> None:
        """Write a checkpoint from the main process."""
        if self.process.is_main:
            save_checkpoint(self.out / name, self.state())

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; refuses one that another recipe trained."""
        differing = differing_in_training(self.recipe, state["recipe"])
        if differing:
            raise RecipeError(f"{self.out} was begun with another recipe; differing: {', '.join(differing)}")
        if state["total_steps"] != self.total_steps:
            raise RecipeError(
                f"{self.out} was begun as a run of {state['total_steps']} steps, with this data it has "
                f"{self.total_steps}; resume with the data it was begun with, or choose another --out"
            )
        self.start = state.get("start")
        if started_elsewhere(self.recipe, self.start):
            raise RecipeError(
                f"{self.out} was begun from other weights than {self.recipe.network.initial_weights} holds now; choose another "
                "--out, or remove the folder"
            )
        load_weights(self.network, state["network"], self.recipe.network.name)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.n_averaged.fill_(state["ema_updates"])
        self.step = state["step"]
        self.best = state[f"best_{self.figure}"]
        self.skipped = state["skipped"]
        self.recently_skipped.extend(state["recently_skipped"])
        self.seconds = state["seconds"]
        self.used_otherwise = self.step == self.total_steps and bool(differing_keys(self.recipe, state["recipe"]))

    def finish(self) -> dict[str, Any]:
        """Write the summary, the last and the best validation figures among it, and return it in every process."""
        if self.used_otherwise or not any(self.figure in entry for entry in self.log.entries):
            if self.process.is_main:  # it was finished before; its network is used otherwise now, or its log is gone
                self.evaluate()
            self.save("last.pt")
        evaluations = [entry for entry in self.log.entries if self.figure in entry]
        summary = {
            "recipe": self.recipe.model_dump(mode="json"),
            "commit": source_commit(),
            **self.judged(),
            "start": self.start,
            "steps": self.step,
            "skipped_steps": self.skipped,
            "training_seconds": round(self.seconds, 1),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "hardware": self.hardware(),
            "torch_version": str(torch.__version__),
            "last": evaluations[-1] if evaluations else None,
            "best": max(evaluations, key=lambda entry: entry[self.figure]) if evaluations else None,
        }
        if self.process.is_main:
            write_atomically(self.out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
        return from_main(self.process, summary)

    def hardware(self) -> str:
        """Say in words what this run computes on."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
            return f"{self.process.world_size} x {name}" if self.process.world_size > 1 else name
        return f"{processor()}, {cores()} cores"

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the loop to save and stop after the current step."""
        self.stop_requested = True
