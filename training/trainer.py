"""The training loop. Read top to bottom: build, resume, then one step after another."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.files import write_atomically
from training.allocator import keep_freed_memory
from training.batch_norm import synchronize_batch_norm
from training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from training.distributed import Process, any_process, from_main, sum_over_processes
from training.evaluation import autocast, evaluate_network
from training.losses import SegmentationLoss
from training.networks import build_network
from training.normalization import Normalize
from training.optimizer import build_optimizer
from training.prior import corrected_prior
from training.provenance import source_commit
from training.recipe import Recipe
from training.run_log import RunLog
from training.samples import (
    LabelledImages,
    StepSampler,
    TrainingSamples,
    class_frequencies,
    load_splits,
    training_loader,
    worker_count,
)
from training.schedule import learning_rate_factor

LOG_EVERY_STEPS = 20
SKIP_WINDOW_STEPS = 100
MAX_SKIPPED_IN_WINDOW = 25
Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class TrainingDivergedError(LwsegError):
    """Too many steps in a row had non-finite gradients."""


class Trainer:
    """One run of a recipe.

    Args:
        recipe: what to do.
        data_root: folder of the data set.
        out: folder for last.pt, best.pt, log.jsonl, curves.png, recipe.yaml and summary.json.
        process: this process among those of the run.
        resume: go on from ``out/last.pt`` where there is one.
    """

    def __init__(self, recipe: Recipe, data_root: Path, out: Path, process: Process, *, resume: bool = False) -> None:
        self.recipe = recipe
        self.out = out
        self.process = process
        self.device = process.device
        source_commit()  # now: by the first checkpoint the source may be another than what is running
        if self.device.type == "cpu":
            keep_freed_memory()
        else:
            torch.backends.cudnn.benchmark = True  # crops have one size, or two

        train_split, validation_split = load_splits(recipe.dataset, data_root)
        self.classes = train_split.classes
        self.train_images = LabelledImages(train_split)
        self.validation_images = LabelledImages(validation_split)
        self.steps_per_epoch = max(1, math.ceil(len(self.train_images) / recipe.batch_size))
        schedule = recipe.schedule
        self.total_steps = schedule.steps or max(1, round((schedule.epochs or 0) * self.steps_per_epoch))
        self.evaluate_every = max(1, round(recipe.evaluate_every_epochs * self.steps_per_epoch))

        torch.manual_seed(recipe.seed)
        network = build_network(recipe.network.name, len(self.classes), **recipe.network.options)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalize = Normalize(recipe.normalization).to(self.device)
        frequencies = class_frequencies(self.train_images, len(self.classes))
        self.loss = SegmentationLoss(recipe.loss, frequencies, process.world_size).to(self.device)
        self.optimizer = build_optimizer(self.network, recipe.optimizer)
        self.ema = averaged(self.network, recipe.ema_decay) if recipe.ema_decay > 0 else None
        self.log = RunLog(out / "log.jsonl")
        self.step = 0
        self.best_miou = -1.0
        self.skipped = 0
        self.recently_skipped: deque[bool] = deque(maxlen=SKIP_WINDOW_STEPS)
        self.stop_requested = False
        self.seconds = 0.0

        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecipeError(
                f"cannot make the output folder {out} ({error.strerror}); choose another --out"
            ) from error
        if resume and (out / "last.pt").is_file():
            self.restore(load_checkpoint(out / "last.pt"))
        elif (out / "last.pt").exists():
            raise RecipeError(f"{out} already holds a run; add --resume to go on with it, or choose another --out")
        if process.is_main:
            self.log.resume(self.step)
            write_atomically(out / "recipe.yaml", recipe.to_yaml().encode())
        self.parallel = self.network if process.world_size == 1 else self.distribute()

    def distribute(self) -> nn.Module:
        """Wrap the network so that all processes step alike, by the batch statistics and the gradient of the whole batch."""
        self.network = synchronize_batch_norm(self.network, self.device)
        return DistributedDataParallel(self.network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def fit(self) -> dict[str, Any]:
        """Train to the end of the schedule and return the summary; SIGTERM and SIGINT save and stop after the current step."""
        recipe, process = self.recipe, self.process
        sampler = StepSampler(recipe.batch_size, self.step, self.total_steps, process.rank, process.world_size)
        samples = TrainingSamples(self.train_images, recipe, self.total_steps)
        loader = training_loader(samples, sampler, worker_count(recipe), pin=self.device.type == "cuda")
        handlers = {number: signal.signal(number, self.request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        progress = tqdm(
            total=self.total_steps,
            initial=self.step,
            unit="step",
            disable=not process.is_main,
            smoothing=0.05,
            mininterval=1.0 if sys.stderr.isatty() else 30.0,
        )
        try:
            stopped = self.run_steps(loader, progress)
        finally:
            progress.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if stopped:
            self.save("last.pt")
            raise LwsegError(f"stopped at step {self.step} of {self.total_steps}; go on with --resume --out {self.out}")
        return self.finish()

    def run_steps(self, loader: Any, progress: tqdm) -> bool:
        """Take the steps that the loader yields; log, evaluate and save on the way. Return whether it was told to stop."""
        losses: list[Tensor] = []
        norms: list[float] = []
        waited_s = worked_s = 0.0
        ready = time.perf_counter()
        for image, label in loader:
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
        """Take one step on uint8 images [n, H, W, 3] and labels [n, H, W]; return the loss and the gradient's norm.

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

    def learning_rate(self) -> float:
        """Return the learning rate of the current step."""
        schedule = self.recipe.schedule
        factor = learning_rate_factor(self.step, self.total_steps, schedule.warmup_steps, schedule.power)
        return self.recipe.optimizer.lr * factor

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
        progress.set_postfix(
            epoch=entry["epoch"], loss=f"{entry['loss']:.3f}", best=f"{self.best_miou:.3f}", refresh=False
        )
        if self.process.is_main:
            self.log.append(**entry)

    def evaluate(self) -> None:
        """Judge the network, averaged if there is an average, and keep it if it is the best so far."""
        if not self.process.is_main:
            return
        network = self.ema.module if self.ema is not None else self.network
        with corrected_prior(network, self.loss.weights, self.recipe.loss.prior_correction):
            confusion = evaluate_network(
                network, self.normalize, self.validation_images, len(self.classes), self.device, self.recipe.precision
            )
        per_class = dict(zip((c.name for c in self.classes), confusion.per_class_iou.tolist(), strict=True))
        self.log.append(
            step=self.step,
            miou=confusion.miou,
            pixel_accuracy=confusion.pixel_accuracy,
            per_class_iou={name: None if math.isnan(iou) else iou for name, iou in per_class.items()},
        )
        if confusion.miou > self.best_miou:
            self.best_miou = confusion.miou
            self.save("best.pt")
        self.log.draw(self.out / "curves.png", f"{self.recipe.network.name} on {self.recipe.dataset.name}")

    def state(self) -> dict[str, Any]:
        """Return all that rebuilds this run at this step."""
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "classes": [{"id": c.id, "name": c.name, "color_rgb": list(c.color_rgb)} for c in self.classes],
            "class_weights": self.loss.weights.tolist() if self.loss.weights is not None else None,
            "commit": source_commit(),
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.step / self.steps_per_epoch,
            "network": self.network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema is not None else None,
            "ema_updates": int(self.ema.n_averaged) if self.ema is not None else 0,
            "optimizer": self.optimizer.state_dict(),
            "best_miou": self.best_miou,
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
        """Go back to a saved state; refuses one that was made with another recipe."""
        ours = self.recipe.model_dump(mode="json")
        differing = [key for key in ours if key not in ("workers",) and state["recipe"].get(key) != ours[key]]
        if differing:
            raise RecipeError(f"{self.out} was begun with another recipe; differing: {', '.join(differing)}")
        if state["total_steps"] != self.total_steps:
            raise RecipeError(
                f"{self.out} was begun as a run of {state['total_steps']} steps, with this data it has "
                f"{self.total_steps}; resume with the data it was begun with, or choose another --out"
            )
        load_weights(self.network, state["network"], self.recipe.network.name)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.n_averaged.fill_(state["ema_updates"])
        self.step = state["step"]
        self.best_miou = state["best_miou"]
        self.skipped = state["skipped"]
        self.recently_skipped.extend(state["recently_skipped"])
        self.seconds = state["seconds"]

    def finish(self) -> dict[str, Any]:
        """Write the summary, the last and the best validation figures among it, and return it in every process."""
        if self.process.is_main and not any("miou" in entry for entry in self.log.entries):
            self.evaluate()  # a finished run was resumed whose log is gone
        evaluations = [entry for entry in self.log.entries if "miou" in entry]
        summary = {
            "recipe": self.recipe.model_dump(mode="json"),
            "commit": source_commit(),
            "judged_on": self.validation_images.split.split,
            "images": {"train": len(self.train_images), "judged": len(self.validation_images)},
            "steps": self.step,
            "skipped_steps": self.skipped,
            "training_seconds": round(self.seconds, 1),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "torch_version": str(torch.__version__),
            "last": evaluations[-1] if evaluations else None,
            "best": max(evaluations, key=lambda entry: entry["miou"]) if evaluations else None,
        }
        if self.process.is_main:
            write_atomically(self.out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
        return from_main(self.process, summary)

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the loop to save and stop after the current step."""
        self.stop_requested = True


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Build the exponential moving average of weights and buffers; its decay grows to ``decay`` over the first updates."""

    # All tensors of a kind at once: tensor by tensor, a GPU would be waited for several hundred times a step.
    def average(old: Tensors, new: Tensors, updates: Tensor | int) -> None:
        if not old[0].is_floating_point():
            torch._foreach_copy_(old, new)
            return
        count = int(updates)
        torch._foreach_lerp_(old, new, 1 - min(decay, (1 + count) / (10 + count)))

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)
