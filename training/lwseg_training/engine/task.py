"""What `fit` asks of a kind of training; segmentation.py and classification.py hold the two that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn
from torch.utils.data import Dataset

from lwseg_training.config.pretraining_recipe import PretrainingRecipe
from lwseg_training.config.recipe import Recipe
from lwseg_training.distributed import Process
from lwseg_training.networks.normalization import Normalize
from lwseg_training.optim.schedule import RunLength


class Task(Protocol):
    """One kind of training: its data, its network, what is minimised, and how the network is evaluated."""

    command: ClassVar[str]  # that trains so, for messages
    metric: ClassVar[str]  # the figure of an evaluation by which the best network is kept, the higher the better
    curves: ClassVar[dict[str, str]]  # the figures of an evaluation that are drawn, with their names in words
    process: Process  # where it runs
    length: RunLength
    images: dict[str, int]  # how many are trained on (train) and evaluated on (evaluated)
    evaluated_on: str  # the split, in words
    samples: Dataset[Any]  # training images uint8 [H, W, 3] and labels, by sample number without end
    normalize: Normalize  # from images uint8 [n, H, W, 3] to what the network takes; on the process's device

    @property
    def recipe(self) -> Recipe | PretrainingRecipe:
        """What to do."""

    def step_loss(
        self, outputs: Tensor | Sequence[Tensor], image: Tensor, label: Tensor, batch_label: Tensor
    ) -> Tensor:
        """Return the scalar to minimise, of the network's outputs for images uint8 [n, H, W, 3] and their labels int64, all on the
        process's device.

        ``batch_label``: the labels of the whole batch that these are a part of. What is returned is the part's share of the batch's
        loss: over the parts it adds up to that.
        """

    def build_network(self) -> nn.Module:
        """Build the network with random weights drawn from PyTorch's seed."""

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""

    def evaluate(self, network: nn.Module) -> dict[str, Any]:
        """Return the figures of a network on the validation split, ``metric`` among them; leaves it in eval mode."""

    def checkpoint_fields(self) -> dict[str, Any]:
        """Return what a checkpoint holds beyond COMMON_FIELDS and the best value of the metric."""
