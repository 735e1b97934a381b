"""Pretraining a backbone by classification, as a task of `fit`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lwseg_ros.datasets import load_classification_split
from lwseg_ros.errors import DatasetError
from lwseg_training.config.pretraining_recipe import PretrainingRecipe
from lwseg_training.data.classification_samples import TrainingImages, ValidationImages
from lwseg_training.data.samples import start_worker, worker_count
from lwseg_training.distributed import Process
from lwseg_training.engine.evaluation import autocast
from lwseg_training.networks import build_classifier
from lwseg_training.networks.normalization import Normalize
from lwseg_training.optim.schedule import learning_rate_factor, run_length

VALIDATION_BATCH = 64


class ClassificationTask:
    """A recipe on the data set in ``data_root``; raises DatasetError where that is not there, or its splits have other classes."""

    command: ClassVar[str] = "lwseg pretrain"
    metric: ClassVar[str] = "top1"
    curves: ClassVar[dict[str, str]] = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}

    def __init__(self, recipe: PretrainingRecipe, data_root: Path, process: Process) -> None:
        self.recipe = recipe
        self.process = process
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
        self.samples: Dataset[Any] = TrainingImages(train_split, recipe.crop, recipe.seed)
        self.validation_images = ValidationImages(validation_split, recipe.crop)
        self.images = {"train": len(train_split), "evaluated": len(validation_split)}
        self.evaluated_on = validation_split.split
        self.length = run_length(recipe, len(train_split))
        self.normalize = Normalize(recipe.normalization, recipe.exposure).to(process.device)
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    def build_network(self) -> nn.Module:
        section = self.recipe.network
        return build_classifier(section.name, len(self.class_names), **section.options)

    def step_loss(
        self, outputs: Tensor | Sequence[Tensor], image: Tensor, label: Tensor, batch_label: Tensor
    ) -> Tensor:
        """Return the cross-entropy of the logits [n, classes], the part's share of the batch's."""
        return self.loss(outputs, label) * (len(label) / len(batch_label))  # type: ignore[no-any-return]

    def learning_rate(self, step: int) -> float:
        length, schedule = self.length, self.recipe.schedule
        power = schedule.power if schedule.kind == "poly" else None
        return self.recipe.optimizer.lr * learning_rate_factor(step, length.total_steps, length.warmup_steps, power)

    def evaluate(self, network: nn.Module) -> dict[str, Any]:
        """Return top-1 and top-5 accuracy, in [0, 1], on the validation split."""
        loader = DataLoader(
            self.validation_images,
            batch_size=VALIDATION_BATCH,
            num_workers=worker_count(self.recipe),
            worker_init_fn=start_worker,
        )
        top1, top5 = accuracy(network, self.normalize, loader, self.process.device, self.recipe.precision)
        return {"top1": top1, "top5": top5}

    def checkpoint_fields(self) -> dict[str, Any]:
        """Return the names of the classes."""
        return {"class_names": list(self.class_names)}


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
