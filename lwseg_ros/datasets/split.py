"""A split of a data set: its classes and its pairs of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets.labels import CodedPath
from lwseg_ros.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    ``pairs`` are (image, label) files, in the recorded order. `read_pair` gives the labels in ids of ``classes``; a label whose
    file holds other values is a `CodedPath`.
    """

    dataset: str  # such as `camvid`
    split: str  # such as `val`
    classes: tuple[ClassInfo, ...]  # ids 0 to C - 1 in order
    ignore_id: int | None  # the label value that does not count
    pairs: tuple[tuple[Path, Path | CodedPath], ...]

    def check_classes(self, classes: Sequence[ClassInfo]) -> None:
        """Check that a model's classes are this data set's; raises DatasetError naming the first that differs."""
        ours, theirs = [c.name for c in self.classes], [c.name for c in classes]
        if len(ours) != len(theirs):
            raise DatasetError(
                f"the model has {len(theirs)} classes, {self.dataset} has {len(ours)}: {', '.join(ours)}; "
                f"evaluate a model that was trained on {self.dataset}"
            )
        for class_id, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            if our != their:
                raise DatasetError(
                    f"class {class_id} is {their!r} in the model and {our!r} in {self.dataset}; "
                    f"evaluate a model that was trained on {self.dataset}"
                )


TRAINED_ON = " (trained on)"
"""What stands behind the name of a split whose images a network was trained on."""


def figures_note(split: str, trained_on: bool = False) -> str:
    """Return what to write behind figures of a split: that they are of what was trained on, or else validation figures, if they
    are; else nothing."""
    if trained_on:
        return TRAINED_ON
    return " (validation figures)" if split in ("val", "validation") else ""
