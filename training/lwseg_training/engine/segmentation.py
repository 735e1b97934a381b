"""Training a segmentation, as a task of `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from lwseg_training.config.recipe import Recipe
from lwseg_training.data.auxiliary import AuxiliaryImages
from lwseg_training.data.class_frequencies import class_frequencies
from lwseg_training.data.labelled_images import LabelledImages, load_splits
from lwseg_training.data.samples import TrainingSamples
from lwseg_training.distributed import Process
from lwseg_training.engine.evaluation import evaluate_network
from lwseg_training.engine.teacher import Teacher
from lwseg_training.losses import SegmentationLoss
from lwseg_training.losses.distillation import distillation_loss
from lwseg_training.losses.logit_adjustment import adjusted_logits
from lwseg_training.losses.partial_labels import prior_shift
from lwseg_training.networks import build_network
from lwseg_training.networks.label_blocks import check_label_step
from lwseg_training.networks.normalization import Normalize
from lwseg_training.optim.schedule import learning_rate_factor, run_length


class SegmentationTask:
    """A recipe on the data set in ``data_root``; raises DatasetError where that is not there."""

    command: ClassVar[str] = "lwseg train"
    metric: ClassVar[str] = "miou"
    curves: ClassVar[dict[str, str]] = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy"}

    def __init__(self, recipe: Recipe, data_root: Path, process: Process) -> None:
        self.recipe = recipe
        self.process = process
        train_split, validation_split = load_splits(recipe.dataset, data_root)
        self.classes = train_split.classes
        self.train_images = LabelledImages(train_split)
        self.validation_images = LabelledImages(validation_split)
        self.images = {"train": len(self.train_images), "evaluated": len(self.validation_images)}
        self.evaluated_on = validation_split.split
        self.auxiliary_images = (
            AuxiliaryImages(recipe.auxiliary, self.classes) if recipe.auxiliary is not None else None
        )
        if self.auxiliary_images is not None:
            self.images["auxiliary"] = len(self.auxiliary_images)
        self.length = run_length(recipe, len(self.train_images), recipe.batch_size - recipe.auxiliary_batch)
        self.samples: Dataset[Any] = TrainingSamples(
            self.train_images, recipe, self.length.total_steps, self.auxiliary_images
        )
        self.normalize = Normalize(recipe.normalization, recipe.exposure).to(process.device)

    @cached_property
    def loss(self) -> SegmentationLoss:
        """The recipe's loss. Class weights want all labels to be read, once, which takes minutes for a large data set."""
        auxiliary, images = self.recipe.auxiliary, self.auxiliary_images
        share = auxiliary.prior_shift if auxiliary is not None else 0
        weighted = self.recipe.loss.class_weights != "none"
        own = class_frequencies(self.train_images, len(self.classes)) if weighted or share else None
        of_auxiliary: dict[str, Any] = {}
        if auxiliary is not None and images is not None:
            of_auxiliary = {"unlabelled": images.unlabelled, "auxiliary_weight": auxiliary.weight}
            if own is not None and share:
                of_auxiliary["auxiliary_shift"] = share * prior_shift(own, images.frequencies(len(self.classes)))
        loss = SegmentationLoss(self.recipe.loss, own, self.process.world_size, **of_auxiliary)
        return loss.to(self.process.device)

    @cached_property
    def teacher(self) -> Teacher | None:
        """The recipe's teacher, None without; raises CheckpointError or RecipeError where it cannot teach this run."""
        distillation = self.recipe.distillation
        if distillation is None:
            return None
        recipe = self.recipe
        return Teacher(Path(distillation.teacher), recipe.dataset, self.classes, self.process.device, recipe.precision)

    def build_network(self) -> nn.Module:
        section = self.recipe.network
        network = build_network(section.name, len(self.classes), **section.options)
        check_label_step(network, self.recipe.inference.label_step)  # now, and not at the first evaluation
        return network

    def step_loss(
        self, outputs: Tensor | Sequence[Tensor], image: Tensor, label: Tensor, batch_label: Tensor
    ) -> Tensor:
        """Return the recipe's loss on the labels, and what there is to learn from the teacher."""
        loss: Tensor = self.loss(outputs, label, batch_label)
        distillation = self.recipe.distillation
        if distillation is None or self.teacher is None:
            return loss
        prediction = outputs if isinstance(outputs, Tensor) else outputs[0]
        taught = distillation_loss(prediction, self.teacher(image), distillation.temperature)
        return loss + distillation.weight * taught * (len(label) / len(batch_label))

    def learning_rate(self, step: int) -> float:
        length, power = self.length, self.recipe.schedule.power
        return self.recipe.optimizer.lr * learning_rate_factor(step, length.total_steps, length.warmup_steps, power)

    def evaluate(self, network: nn.Module) -> dict[str, Any]:
        """Return mIoU, pixel accuracy and the IoU of each class, in [0, 1], on the validation split."""
        recipe = self.recipe
        with adjusted_logits(network, self.loss.weights, recipe.loss.logit_adjustment):
            evaluator = evaluate_network(
                network,
                self.normalize,
                self.validation_images,
                self.process.device,
                recipe.precision,
                recipe.inference,
            )
        return {
            "miou": evaluator.confusion.miou,
            "pixel_accuracy": evaluator.confusion.pixel_accuracy,
            "per_class_iou": evaluator.per_class_iou,
        }

    def checkpoint_fields(self) -> dict[str, Any]:
        """Return the classes, and their weights in the loss."""
        return {
            "classes": [{"id": c.id, "name": c.name, "color_rgb": list(c.color_rgb)} for c in self.classes],
            "class_weights": self.loss.weights.tolist() if self.loss.weights is not None else None,
        }
