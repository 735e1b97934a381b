"""Training a segmentation. Read top to bottom: build, resume, then one step after another, which loop.py leads through."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lwseg_training.config.recipe import Recipe
from lwseg_training.data.samples import (
    LabelledImages,
    StepSampler,
    TrainingSamples,
    class_frequencies,
    load_splits,
    training_loader,
    worker_count,
)
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.distributed import Process
from lwseg_training.engine.evaluation import evaluate_network
from lwseg_training.engine.fit import TrainingLoop
from lwseg_training.engine.warm_start import check_unseen
from lwseg_training.losses import SegmentationLoss
from lwseg_training.losses.logit_adjustment import corrected_prior
from lwseg_training.networks import build_network
from lwseg_training.optim.schedule import learning_rate_factor


class Trainer(TrainingLoop[Recipe]):
    """One run of a recipe.

    Args:
        recipe: what to do.
        data_root: folder of the data set.
        out: folder for last.pt, best.pt, log.jsonl, curves.png, recipe.yaml and summary.json.
        process: this process among those of the run.
        resume: go on from ``out/last.pt`` where there is one.
    """

    figure = "miou"
    curves: ClassVar[dict[str, str]] = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}
    loss: SegmentationLoss

    def __init__(self, recipe: Recipe, data_root: Path, out: Path, process: Process, *, resume: bool = False) -> None:
        super().__init__(recipe, recipe.dataset.name, out, process)
        train_split, validation_split = load_splits(recipe.dataset, data_root)
        self.classes = train_split.classes
        self.train_images = LabelledImages(train_split)
        self.validation_images = LabelledImages(validation_split)
        self.count_steps(len(self.train_images))

        torch.manual_seed(recipe.seed)
        network = build_network(recipe.network.name, len(self.classes), **recipe.network.options)
        self.take(network, resume=resume)
        weighted = recipe.loss.class_weights != "none"  # reading all labels of a large data set takes minutes
        frequencies = class_frequencies(self.train_images, len(self.classes)) if weighted else None
        self.loss = SegmentationLoss(recipe.loss, frequencies, process.world_size).to(self.device)
        self.open_folder(resume=resume)
        self.distribute()

    def check_start(self, path: Path) -> None:
        """Refuse initial weights that have seen what is left out."""
        check_unseen(path, self.recipe.dataset)

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield image uint8 [n, H, W, 3] and label uint8 [n, H, W] of each step from ``step`` on: this process's share."""
        recipe, process = self.recipe, self.process
        sampler = StepSampler(recipe.batch_size, self.step, self.total_steps, process.rank, process.world_size)
        samples = TrainingSamples(self.train_images, recipe, self.total_steps)
        return training_loader(samples, sampler, worker_count(recipe), pin=self.device.type == "cuda")

    def learning_rate(self) -> float:
        """Return the learning rate of the current step."""
        schedule = self.recipe.schedule
        factor = learning_rate_factor(self.step, self.total_steps, self.warmup_steps, schedule.power)
        return self.recipe.optimizer.lr * factor

    def evaluate(self) -> None:
        """Judge the network, averaged if there is an average, and keep it if it is the best so far."""
        if not self.process.is_main:
            return
        network = self.ema.module if self.ema is not None else self.network
        with corrected_prior(network, self.loss.weights, self.recipe.loss.prior_correction):
            evaluator = evaluate_network(
                network,
                self.normalize,
                self.validation_images,
                self.device,
                self.recipe.precision,
                self.recipe.inference,
            )
        confusion = evaluator.confusion
        self.record(miou=confusion.miou, pixel_accuracy=confusion.pixel_accuracy, per_class_iou=evaluator.per_class_iou)

    def state(self) -> dict[str, Any]:
        """Return all that rebuilds this run at this step."""
        return {
            **super().state(),
            "classes": [{"id": c.id, "name": c.name, "color_rgb": list(c.color_rgb)} for c in self.classes],
            "class_weights": self.loss.weights.tolist() if self.loss.weights is not None else None,
        }

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint of such a run."""
        return load_checkpoint(path)

    def judged(self) -> dict[str, Any]:
        """Say for the summary what is judged on, and how many images there are."""
        return {
            "judged_on": self.validation_images.split.split,
            "images": {"train": len(self.train_images), "judged": len(self.validation_images)},
        }
