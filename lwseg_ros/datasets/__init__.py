"""Labelled image folders: which image goes with which label, and what the ids mean. No torch, no augmentation."""

from __future__ import annotations

import importlib
import pkgutil

from lwseg_ros.datasets.classification import ClassificationSplit
from lwseg_ros.datasets.labels import CodedPath
from lwseg_ros.datasets.provenance import Provenance
from lwseg_ros.datasets.reading import read_image, read_pair
from lwseg_ros.datasets.registry import (
    CLASSIFICATION_DATASETS,
    DATASETS,
    PROVENANCES,
    load_classification_split,
    load_split,
)
from lwseg_ros.datasets.split import TRAINED_ON, Split, figures_note

__all__ = [
    "CLASSIFICATION_DATASETS",
    "DATASETS",
    "PROVENANCES",
    "TRAINED_ON",
    "ClassificationSplit",
    "CodedPath",
    "Provenance",
    "Split",
    "figures_note",
    "load_classification_split",
    "load_split",
    "read_image",
    "read_pair",
]

# The modules register their data sets when they are imported, so a new file in this folder is all that a new one takes.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
