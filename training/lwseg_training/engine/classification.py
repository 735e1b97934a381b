"""Pretraining a backbone by classification: build, resume, then one step after another, which loop.py leads through."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lwseg_ros.datasets import load_classification_split
from lwseg_ros.errors import DatasetError
from lwseg_training.config.pretraining_recipe import PretrainingRecipe
from lwseg_training.data.classification_samples import TrainingPhotos, ValidationPhotos
from lwseg_training.data.samples import StepSampler, start_worker, training_loader, worker_count
from lwseg_training.engine.checkpoint import COMMON_FIELDS, load_checkpoint
from lwseg_training.engine.distributed import Process
from lwseg_training.engine.evaluation import autocast
from lwseg_training.engine.fit import TrainingLoop
from lwseg_training.networks.classifiers import build_classifier
from lwseg_training.networks.normalization import Normalize
from lwseg_training.optim.schedule import cosine_learning_rate_factor, learning_rate_factor

FIELDS = (*COMMON_FIELDS, "class_names", "best_top1")
VALIDATION_BATCH = 64


class Pretrainer(TrainingLoop[PretrainingRecipe]):
    """One run of a recipe of pretraining.

    Args:
        recipe: what to do.
        data_root: folder of the data set.
        out: folder for last.pt, best.pt, log.jsonl, curves.png, recipe.yaml and summary.json.
        process: this process among those of the run.
        resume: go on from ``out/last.pt`` where there is one.
    """

    figure = "top1"
    curves: ClassVar[dict[str, str]] = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}

    def __init__(
        self, recipe: PretrainingRecipe, data_root: Path, out: Path, process: Process, *, resume: bool = False
    ) -> None:
        super().__init__(recipe, recipe.dataset.name, out, process)
        dataset = recipe.dataset
        train_split = load_classification_split(dataset.name, data_root, dataset.train_split)
        validation_split = load_classification_split(dataset.name, data_root, dataset.validation_split)
        self.class_names = train_split.class_names
        if validation_split.class_names != self.class_names:
            differing = sorted(set(self.class_names) ^ set(validation_split.class_names))
            raise DatasetError(
                f"{dataset.train_split} has {len(self.class_names)} classes, {dataset.validation_split} "
                f"{len(validation_split.class_names)}; only one of them has {differing[0]!r}: make both the same"
            )
        self.training_photos = TrainingPhotos(train_split, recipe.crop, recipe.seed)
        self.validation_photos = ValidationPhotos(validation_split, recipe.crop)
        self.count_steps(len(train_split))

        torch.manual_seed(recipe.seed)
        network = build_classifier(recipe.network.name, len(self.class_names), **recipe.network.options)
        self.take(network, resume=resume)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.open_folder(resume=resume)
        self.distribute()

    def batches(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield image uint8 [n, H, W, 3] and class index int64 [n] of each step from ``step`` on: this process's share."""
        recipe, process = self.recipe, self.process
        sampler = StepSampler(recipe.batch_size, self.step, self.total_steps, process.rank, process.world_size)
        return training_loader(self.training_photos, sampler, worker_count(recipe), pin=self.device.type == "cuda")

    def learning_rate(self) -> float:
        """Return the learning rate of the current step."""
        schedule = self.recipe.schedule
        if schedule.kind == "cosine":
            factor = cosine_learning_rate_factor(self.step, self.total_steps, self.warmup_steps)
        else:
            factor = learning_rate_factor(self.step, self.total_steps, self.warmup_steps, schedule.power)
        return self.recipe.optimizer.lr * factor

    def evaluate(self) -> None:
        """Judge the network, averaged if there is an average, and keep it if it is the best so far."""
        if not self.process.is_main:
            return
        network = self.ema.module if self.ema is not None else self.network
        loader = DataLoader(
            self.validation_photos,
            batch_size=VALIDATION_BATCH,
            num_workers=worker_count(self.recipe),
            worker_init_fn=start_worker,
        )
        top1, top5 = accuracy(network, self.normalize, loader, self.device, self.recipe.precision)
        self.record(top1=top1, top5=top5)

    def state(self) -> dict[str, Any]:
        """Return all that rebuilds this run at this step."""
        return {**super().state(), "class_names": list(self.class_names)}

    def load(self, path: Path) -> dict[str, Any]:
        """Read a checkpoint of such a run."""
        return load_checkpoint(path, FIELDS, "lwseg pretrain")

    def judged(self) -> dict[str, Any]:
        """Say for the summary what is judged on, and how many images there are."""
        validation = self.validation_photos.split
        return {
            "judged_on": validation.split,
            "images": {"train": len(self.training_photos.split), "judged": len(validation)},
        }


@torch.no_grad()
def accuracy(
    network: nn.Module,
    normalize: Normalize,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: str,
) -> tuple[float, float]:
    """Return the shares, in [0, 1], of images whose class is the likeliest (top-1) and among the five likeliest (top-5).

    ``batches`` of uint8 BGR [n, H, W, 3] and class indices int64 [n]. Leaves the network in eval mode.
    """
    network.eval()
    first = among_five = count = 0
    for image, label in batches:
        with autocast(device, precision):
            logits = network(normalize(image.to(device)).contiguous(memory_format=torch.channels_last))
        hits = logits.topk(min(5, logits.shape[1])).indices == label.to(device)[:, None]
        first += int(hits[:, 0].sum())
        among_five += int(hits.sum())
        count += len(label)
    return first / count, among_five / count
