"""Training a segmentation. Read top to bottom: build, resume, then one step after another, which loop.py leads through."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lwseg_ros.errors import RecipeError
from lwseg_ros.files import write_atomically
from training.allocator import keep_freed_memory
from training.checkpoint import load_checkpoint, load_weights
from training.distributed import Process, from_main
from training.evaluation import evaluate_network
from training.loop import TrainingLoop
from training.losses import SegmentationLoss
from training.networks import build_network
from training.normalization import Normalize
from training.optimizer import build_optimizer
from training.prior import corrected_prior
from training.provenance import source_commit
from training.recipe import Recipe, differing_keys
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

Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class Trainer(TrainingLoop[Recipe]):
    """One run of a recipe.

    Args:
        recipe: what to do.
        data_root: folder of the data set.
        out: folder for last.pt, best.pt, log.jsonl, curves.png, recipe.yaml and summary.json.
        process: this process among those of the run.
        resume: go on from ``out/last.pt`` where there is one.
    """

    loss: SegmentationLoss

    def __init__(self, recipe: Recipe, data_root: Path, out: Path, process: Process, *, resume: bool = False) -> None:
        super().__init__(recipe, out, process)
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
        self.loss = SegmentationLoss(recipe.loss, frequencies).to(self.device)
        self.optimizer = build_optimizer(self.network, recipe.optimizer)
        self.ema = averaged(self.network, recipe.ema_decay) if recipe.ema_decay > 0 else None
        self.best_miou = -1.0

        self.open_folder(resume=resume)
        self.distribute()

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield image uint8 [n, H, W, 3] and label uint8 [n, H, W] of each step from ``step`` on: this process's share."""
        recipe, process = self.recipe, self.process
        sampler = StepSampler(recipe.batch_size, self.step, self.total_steps, process.rank, process.world_size)
        samples = TrainingSamples(self.train_images, recipe, self.total_steps)
        return training_loader(samples, sampler, worker_count(recipe), pin=self.device.type == "cuda")

    def learning_rate(self) -> float:
        """Return the learning rate of the current step."""
        schedule = self.recipe.schedule
        factor = learning_rate_factor(self.step, self.total_steps, schedule.warmup_steps, schedule.power)
        return self.recipe.optimizer.lr * factor

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

    def best_figure(self) -> float:
        """Return the best mIoU so far."""
        return self.best_miou

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

    def restore(self, path: Path) -> None:
        """Go back to a saved state; refuses one that was made with another recipe."""
        state = load_checkpoint(path)
        differing = differing_keys(self.recipe, state["recipe"])
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
