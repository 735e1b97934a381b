"""Recipes of pretraining: training a network's backbone on whole images with one class each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from lwseg_training.config.recipe import (
    RECIPE_FOLDER,
    ScaleRange,
    ScheduleSection,
    Section,
    SizeHW,
    TrainingSettings,
    check_schedule,
    read_values,
    validate,
)

PRETRAINING_RECIPE_FOLDER = RECIPE_FOLDER / "pretraining"


class ImagesSection(Section):
    """What is trained and evaluated on: a data set for classification."""

    name: str = "imagenet1k"
    train_split: str = "train"
    validation_split: str = "val"


class CropSection(Section):
    """How an image becomes a sample of ``size_hw``.

    In training a random part of it is brought to the size: a share of its area from ``area``, sides in a proportion from
    ``aspect`` (width by height). Evaluated is the centre, whose sides are the share ``center`` of the image's, cut to the size's
    proportion.
    """

    size_hw: SizeHW = (224, 224)
    area: ScaleRange = (0.08, 1.0)
    aspect: ScaleRange = (3 / 4, 4 / 3)
    flip: float = Field(0.5, ge=0, le=1)
    center: float = Field(0.875, gt=0, le=1)


class PretrainingSchedule(ScheduleSection):
    """A linear warm-up, then half a cosine or a power (``poly``) down to zero. ``power`` is poly's."""

    kind: Literal["cosine", "poly"] = "cosine"


class PretrainingRecipe(TrainingSettings):
    """A whole run of pretraining. The loss is cross-entropy."""

    dataset: ImagesSection = ImagesSection()
    crop: CropSection = Field(default_factory=lambda: CropSection.model_validate({}))
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    schedule: PretrainingSchedule


def load_pretraining_recipe(path: Path, overrides: Sequence[str] = ()) -> PretrainingRecipe:
    """Read a recipe and change single values of it, as ``load_recipe`` does; raises RecipeError."""
    recipe = validate(PretrainingRecipe, read_values(path, overrides), str(path))
    check_schedule(recipe.schedule, str(path))
    return recipe
