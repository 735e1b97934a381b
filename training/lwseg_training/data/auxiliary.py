"""Images of another label space to train on beside a data set's own: fewer classes, some of them never labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets import load_split
from lwseg_ros.errors import RecipeError
from lwseg_training.config.recipe import AuxiliarySection
from lwseg_training.data.augmentation import IGNORE
from lwseg_training.data.class_frequencies import class_frequencies
from lwseg_training.data.labelled_images import LabelledImages, class_ids

PARTIAL = 256
"""A training label of PARTIAL + c means: class c, or one of the classes that the auxiliary set does not label."""


class AuxiliaryImages(LabelledImages):
    """An auxiliary set's pairs, image uint8 BGR [H, W, 3] and label uint8 [H, W] in the ids of the recipe's data set, 255 where
    nothing is known.

    Args:
        section: the recipe's.
        classes: of the recipe's own data set.

    Raises DatasetError where the set is not there, RecipeError where the section names a class that one of the two has not.
    """

    def __init__(self, section: AuxiliarySection, classes: tuple[ClassInfo, ...]) -> None:
        super().__init__(load_split(section.dataset, Path(section.root), section.split))
        our_names = {info.name for info in classes}
        meant = section.classes or {info.name: info.name for info in self.split.classes if info.name in our_names}
        theirs = class_ids(self.split.classes, meant, "auxiliary.classes")
        ours = class_ids(classes, meant.values(), "auxiliary.classes")
        self.unlabelled = class_ids(classes, section.unlabelled, "auxiliary.unlabelled")
        if not meant:
            raise RecipeError(
                f"auxiliary.classes: {section.dataset} and the recipe's data set have no class of the same name; say which is which"
            )
        self._our_id = np.full(256, IGNORE, dtype=np.uint8)
        self._our_id[list(theirs)] = ours

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image, label = super().__getitem__(index)
        return image, self._our_id[label]

    def training_label(self, label: np.ndarray) -> np.ndarray:
        """Turn a label uint8 [H, W] of ours into what the loss takes, int16 [H, W]."""
        if not self.unlabelled:
            return label.astype(np.int16)
        return np.where(label == IGNORE, np.int16(IGNORE), label.astype(np.int16) + np.int16(PARTIAL))

    def frequencies(self, num_classes: int) -> np.ndarray:
        """Return each of our classes' share of the set's labelled pixels, float64 [num_classes]; 0 of those it does not label."""
        theirs = class_frequencies(LabelledImages(self.split), len(self.split.classes))
        counted = self._our_id[: len(theirs)] != IGNORE
        shares: np.ndarray = np.bincount(self._our_id[: len(theirs)][counted], theirs[counted], num_classes)
        return shares / (shares.sum() or 1)
