"""The data sets, by name. A data set is one file in this folder, in which a function that lists its splits is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lwseg_ros.datasets.classification import ClassificationSplit
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.split import Split
from lwseg_ros.errors import DatasetError

# (the data set's folder, the split's name) -> the split
Listing = Callable[[Path, str], Split]
ClassificationListing = Callable[[Path, str], ClassificationSplit]
AnyListing = TypeVar("AnyListing", Listing, ClassificationListing)

DATASETS: dict[str, Listing] = {}
CLASSIFICATION_DATASETS: dict[str, ClassificationListing] = {}
PROVENANCES: dict[str, Provenance] = {}
"""Of the data sets of both kinds that say where they come from."""


def register_dataset(name: str, provenance: Provenance | None = None) -> Callable[[Listing], Listing]:
    """Decorate a function (folder, split's name) -> Split, so that ``load_split`` and the commands find it by name.

    provenance: goes into the cards of models that were trained on it; None for images of the user's own.

    The function raises DatasetError where the folder is not what it should be. Raises ValueError where the name is taken.
    """
    return _registering(DATASETS, name, provenance)


def register_classification_dataset(
    name: str, provenance: Provenance | None = None
) -> Callable[[ClassificationListing], ClassificationListing]:
    """Do for ``load_classification_split`` what ``register_dataset`` does for ``load_split``."""
    return _registering(CLASSIFICATION_DATASETS, name, provenance)


def load_split(name: str, root: str | Path, split: str) -> Split:
    """List a split's (image, label) pairs; every file is known to exist afterwards.

    Args:
        name: a key of DATASETS.
        root: the data set's folder.
        split: `train`, `val` or whatever splits the folder holds.

    Raises:
        DatasetError: the data set is unknown, or the folder is not what it should be.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}; known are: {', '.join(sorted(DATASETS))}")
    return DATASETS[name](Path(root), split)


def load_classification_split(name: str, root: str | Path, split: str) -> ClassificationSplit:
    """List a split's (image, class index) pairs, as ``load_split`` does for a key of CLASSIFICATION_DATASETS."""
    if name not in CLASSIFICATION_DATASETS:
        known = ", ".join(sorted(CLASSIFICATION_DATASETS))
        raise DatasetError(f"unknown data set for classification {name!r}; known are: {known}")
    return CLASSIFICATION_DATASETS[name](Path(root), split)


def _registering(
    table: dict[str, AnyListing], name: str, provenance: Provenance | None
) -> Callable[[AnyListing], AnyListing]:
    def register(listing: AnyListing) -> AnyListing:
        if name in table:
            raise ValueError(f"the data set {name!r} of {listing.__module__} is in {table[name].__module__} already")
        table[name] = listing
        if provenance is not None:
            PROVENANCES[name] = provenance
        return listing

    return register
