"""Recipes: everything that decides what a training run makes, in one YAML file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lwseg_ros.errors import RecipeError, RecipeWarning
from lwseg_ros.host.files import load_yaml, parse_yaml
from lwseg_training.config.renamed_keys import current_key, with_current_keys

RECIPE_FOLDER = Path(__file__).parent / "recipes"
DEFAULT_OVERLAP = 0.25

Normalization = Literal["fixed", "per_image"]
"""``fixed`` subtracts and scales by constants; ``per_image`` by each image's own mean and deviation a channel, which
takes exposure and colour cast out."""

Model = TypeVar("Model", bound=BaseModel)


def _ascending(scale: tuple[float, float]) -> tuple[float, float]:
    if scale[0] > scale[1]:
        raise ValueError("the smallest first, then the largest")
    return scale


SizeHW = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
ScaleRange = Annotated[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ascending)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkSection(Section):
    """Which registered network, with which options of its own.

    ``pretrained``: the published weights that its backbone starts from: ``imagenet``, or the path of their file
    (engine/pretrained.py).
    ``frozen``: modules, such as ``backbone.stem``, that stay as they start, weights and statistics of batch normalisation.
    ``frozen_statistics``: modules whose batch normalisation stays as it starts, statistics, scales and shifts.
    ``warm_start``: the checkpoint whose weights it starts from (engine/warm_start.py), from the working folder on.
    ``warm_start_held_out``: what a run that holds a sequence out starts from instead, ``{sequence}`` standing for it: a
    start that was trained on the sequence would have seen what the run is evaluated on.
    """

    name: str
    options: dict[str, Any] = {}
    pretrained: str | None = None
    frozen: tuple[str, ...] = ()
    frozen_statistics: tuple[str, ...] = ()
    warm_start: str | None = None
    warm_start_held_out: str | None = None

    @model_validator(mode="after")
    def _freezes_what_was_trained(self) -> NetworkSection:
        if (self.frozen or self.frozen_statistics) and self.pretrained is None and self.warm_start is None:
            raise ValueError(
                "frozen and frozen_statistics keep what was trained before; name it in pretrained or warm_start"
            )
        return self

    @model_validator(mode="after")
    def _one_start(self) -> NetworkSection:
        if self.pretrained is not None and self.warm_start is not None:
            raise ValueError(
                "a network starts from pretrained weights or from a checkpoint (warm_start), not from both"
            )
        return self


class DatasetSection(Section):
    """What is trained and evaluated on.

    ``train_split``: one split, or a list of splits that are trained on together.
    ``held_out`` names sequences that are taken out of the training splits and evaluated on instead of ``validation_split``.
    """

    name: str = "camvid"
    train_split: str | Annotated[tuple[str, ...], Field(min_length=1)] = "train"
    validation_split: str = "val"
    held_out: tuple[str, ...] = ()

    @property
    def train_splits(self) -> tuple[str, ...]:
        """The splits that are trained on."""
        return (self.train_split,) if isinstance(self.train_split, str) else self.train_split

    @property
    def evaluated_split(self) -> str:
        """What is evaluated on, as reports name it."""
        return "held out " + " ".join(self.held_out) if self.held_out else self.validation_split


class PasteSection(Section):
    """Copy-and-paste of thin and rare things from other images of the data set, auxiliary images included as receivers.

    ``probability``: of an image that it is pasted into. ``classes``: by name, of which connected regions are things.
    ``things``: the share of the other image's things that is pasted, each chosen by itself. ``max_share``: of the image, that a
    thing may cover. ``shift``: how far a thing may move from its place, as a share of the image's shorter side.
    """

    probability: float = Field(gt=0, le=1)
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    things: float = Field(0.5, gt=0, le=1)
    max_share: float = Field(0.05, gt=0, le=1)
    shift: float = Field(0.05, ge=0, le=1)


class AugmentationSection(Section):
    """How a training sample is varied. A jitter of j draws a factor from [1 - j, 1 + j]; 0 leaves the image as it is.

    ``short_side``, ``long_side``: scale 1 is the image with that side at so many pixels; by default, the image as it is stored.
    ``scale_draw``: ``log_uniform``, in the scale's logarithm; or ``uniform``, in the scale itself, as mmsegmentation draws it
    (``RandomResize`` of mmcv/transforms/processing.py).
    ``reduction``: how a scale below 1 is reached, ``bilinear`` or ``area``. Bilinear sampling passes over pixels and thin
    things; ``area`` averages over all of them first, as images that are shrunk by more than 2 are where the network is used.
    """

    crop_hw: SizeHW
    short_side: int | None = Field(None, gt=0)
    long_side: int | None = Field(None, gt=0)
    scale: ScaleRange = (1.0, 1.0)
    scale_draw: Literal["log_uniform", "uniform"] = "log_uniform"
    reduction: Literal["bilinear", "area"] = "bilinear"
    aspect: float = Field(0.0, ge=0, lt=1)
    rotation_deg: float = Field(0.0, ge=0, le=45)
    flip: float = Field(0.5, ge=0, le=1)
    photometric: float = Field(1.0, ge=0, le=1)
    brightness: float = Field(0.0, ge=0, lt=1)
    contrast: float = Field(0.0, ge=0, lt=1)
    saturation: float = Field(0.0, ge=0, le=1)
    hue_deg: float = Field(0.0, ge=0, le=180)
    gamma: float = Field(0.0, ge=0, lt=1)
    color_gain: float = Field(0.0, ge=0, lt=1)
    gray: float = Field(0.0, ge=0, le=1)
    blur: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.0, ge=0, le=64)
    class_mix: float = Field(0.0, ge=0, le=1)
    paste: PasteSection | None = None

    @model_validator(mode="after")
    def _one_side(self) -> AugmentationSection:
        if self.short_side is not None and self.long_side is not None:
            raise ValueError("give short_side or long_side, not both")
        return self


class EarlySection(Section):
    """The first part of the schedule on smaller images, which costs less and learns most of what there is to learn.

    ``share`` of the steps; ``crop_hw`` and ``scale`` stand in for the augmentation's.
    """

    share: float = Field(gt=0, lt=1)
    crop_hw: SizeHW
    scale: ScaleRange


class AuxiliarySection(Section):
    """More images to train on, of another data set with other classes: a part of every batch (data/auxiliary.py).

    ``root``: its folder, from the working folder on. ``share`` of a batch's images, at least one.
    ``classes``: which of its classes is which of ours; those not named are not counted. By default those of the same name.
    ``unlabelled``: our classes that its labels do not know, whose pixels carry the label of what is around or behind them.
    ``weight``: of the mean loss over its pixels, beside that over the others. Without ``unlabelled`` classes they count among the
    others, and it changes nothing.
    ``prior_shift``: how much of the difference between its shares of the classes and ours is kept out of what it teaches, 0 none,
    1 all of it (losses/partial_labels.py); for labels that leave classes ``unlabelled``.
    """

    dataset: str = "folder"
    root: str
    split: str = "train"
    share: float = Field(0.25, gt=0, lt=1)
    classes: dict[str, str] = {}
    unlabelled: tuple[str, ...] = ()
    weight: float = Field(0.5, gt=0)
    prior_shift: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _shifts_partial_labels(self) -> AuxiliarySection:
        if self.prior_shift and not self.unlabelled:
            raise ValueError("prior_shift is for labels that leave classes unlabelled; name those in unlabelled")
        return self


class InferenceSection(Section):
    """The size at which images are evaluated: ``size_hw``, or ``short_side`` or ``long_side`` pixels of that side at their own
    aspect; else their own.

    Labels are brought back to the image's size before they are counted, as on a vehicle.
    ``upsample_logits``: logits are instead, and each pixel's class is taken there, as in mmsegmentation; not in the model file.
    ``window_hw``: run the network on windows of this size that share ``window_overlap`` or more with the next ones, and average
    the logits (networks/sliding_windows.py); by default, on the whole image.
    ``label_step``: tell label and uncertainty once for each block of so many by so many pixels (networks/label_blocks.py), so that
    there is less to do behind a light network's last layer. Of LiteSeg alone, at a ``size_hw`` of multiples.
    """

    size_hw: SizeHW | None = None
    short_side: int | None = Field(None, gt=0)
    long_side: int | None = Field(None, gt=0)
    upsample_logits: bool = False
    window_hw: SizeHW | None = None
    window_overlap: float = Field(DEFAULT_OVERLAP, ge=0, lt=1)
    label_step: Literal[1, 2, 4] = 1

    @model_validator(mode="after")
    def _at_most_one(self) -> InferenceSection:
        if sum(size is not None for size in (self.size_hw, self.short_side, self.long_side)) > 1:
            raise ValueError("give one of size_hw, short_side and long_side")
        return self

    @model_validator(mode="after")
    def _blocks_fit(self) -> InferenceSection:
        step = self.label_step
        if step > 1 and (self.window_hw is not None or self.upsample_logits):
            other = "upsample_logits" if self.window_hw is None else "window_hw"
            raise ValueError(
                f"label_step {step} makes labels of blocks, which {other} has none of: leave out one of them"
            )
        if step > 1 and (self.size_hw is None or any(side % step for side in self.size_hw)):
            raise ValueError(
                f"label_step {step} wants a size_hw of multiples of it, not {self.size_hw}; give such a size_hw, or label_step 1"
            )
        return self


class LossSection(Section):
    """What is minimised: cross-entropy over all pixels or over the hard ones (OHEM), and optionally Lovasz-softmax beside it.

    ``logit_adjustment``: the share of the class weights that is taken back where the network is used (losses/logit_adjustment.py).
    ``class_weights``: ``none``, or ``inverse_log``: 1 / ln(weight_offset + class frequency), normalised to a mean of 1 over pixels.
    """

    kind: Literal["cross_entropy", "ohem"] = "cross_entropy"
    class_weights: Literal["none", "inverse_log"] = "none"
    logit_adjustment: float = Field(0.0, ge=0, le=1)
    weight_offset: float = Field(1.02, gt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ohem_threshold: float = Field(0.7, gt=0, lt=1)
    ohem_min_kept: float = Field(1 / 16, gt=0, le=1)
    lovasz: float = Field(0.0, ge=0)
    auxiliary_weights: tuple[float, ...] = ()


class DistillationSection(Section):
    """A teacher whose class probabilities are learned from, beside the labels (losses/distillation.py).

    ``teacher``: the checkpoint of a finished run with the same classes, from the working folder on.
    ``teacher_held_out``: what teaches a run that holds a sequence out, ``{sequence}`` standing for it.
    ``temperature``: that softens both sides' probabilities. ``weight``: of this loss, beside that of the labels.
    """

    teacher: str
    teacher_held_out: str | None = None
    temperature: float = Field(2.0, gt=0)
    weight: float = Field(1.0, gt=0)


class FeatureStatisticsSection(Section):
    """Means and deviations of feature maps that are disturbed in training (networks/feature_statistics.py).

    ``modules``: of the network, after which they are: early ones, by name, such as ``stem``. ``probability``: of a batch, at each
    of them. ``alpha``: of MixStyle's Beta distribution; the smaller, the more of one of two images.
    """

    kind: Literal["mixstyle", "dsu"]
    modules: tuple[str, ...] = Field(min_length=1)
    probability: float = Field(0.5, gt=0, le=1)
    alpha: float = Field(0.1, gt=0)


class OptimizerSection(Section):
    """SGD, AdamW or Muon (optim/muon.py). Biases and normalisation parameters are not decayed. ``momentum`` is SGD's.

    ``backbone_lr``: the learning rate of the network's backbone as a share of the others', for one that was pretrained.
    ``head_lr``: that of what comes before the classes, as a multiple of the others'; PMSDSEN's released code has
    10, of which the paper says nothing.
    """

    kind: Literal["sgd", "adamw", "muon"]
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    clip_norm: float | None = Field(None, gt=0)
    backbone_lr: float = Field(1.0, gt=0, le=1)
    head_lr: float = Field(1.0, gt=0)


class ScheduleSection(Section):
    """Polynomial decay to zero after a linear warm-up. Give either epochs or steps; the warm-up likewise."""

    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    warmup_steps: int = Field(0, ge=0)
    warmup_epochs: float | None = Field(None, gt=0)
    power: float = Field(0.9, gt=0)


class TrainingSettings(Section):
    """What every kind of training is told.

    ``exposure``: how much of the way each image's channels are brought to one mean before they are normalised, see
    networks/normalization.py; for ``normalization: fixed``.
    ``precision``: of the network; fp16, with a scaled loss, is for GPUs before Ampere, which have no bf16.
    ``accumulate``: in how many parts a step goes through its batch, one after another, to need the memory of one; their gradients
    add up to that of the batch (engine/step.py says what is each part's own).
    ``note`` stands beside the figures in the table of networks, such as `short run`, which marks figures that more training
    would raise. ``freeze_batch_norm``: statistics, scales and shifts of batch normalisation stay as they are, for a run that
    goes on from ``network.warm_start``. ``workers`` prepare samples; by default one fewer than there are cores, at most 12.
    """

    note: str = ""
    network: NetworkSection
    normalization: Normalization = "fixed"
    exposure: float = Field(0.0, ge=0, le=1)
    feature_statistics: FeatureStatisticsSection | None = None
    optimizer: OptimizerSection
    schedule: ScheduleSection
    batch_size: int = Field(gt=0)
    accumulate: int = Field(1, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    ema_decay: float = Field(0.0, ge=0, lt=1)
    freeze_batch_norm: bool = False
    seed: int = Field(0, ge=0)
    workers: int | None = Field(None, ge=0)
    evaluate_every_epochs: float = Field(5, gt=0)
    checkpoint_every_steps: int = Field(100, gt=0)

    @model_validator(mode="after")
    def _freezes_what_was_trained(self) -> TrainingSettings:
        if self.freeze_batch_norm and self.network.warm_start is None:
            raise ValueError("freeze_batch_norm keeps the statistics of an earlier run; name it in network.warm_start")
        return self

    @model_validator(mode="after")
    def _exposes_once(self) -> TrainingSettings:
        if self.exposure > 0 and self.normalization != "fixed":
            raise ValueError(
                f"exposure {self.exposure} changes nothing under normalization {self.normalization}; leave one out"
            )
        return self

    @property
    def learns_from(self) -> dict[str, str]:
        """The checkpoints that weights are taken from or learned from, by what they are to the run."""
        return {"start": self.network.warm_start} if self.network.warm_start is not None else {}

    def to_yaml(self) -> str:
        """Write the recipe out in full, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


class Recipe(TrainingSettings):
    """A whole training run of a segmentation."""

    dataset: DatasetSection
    augmentation: AugmentationSection
    inference: InferenceSection = Field(default_factory=lambda: InferenceSection.model_validate({}))
    early: EarlySection | None = None
    auxiliary: AuxiliarySection | None = None
    distillation: DistillationSection | None = None
    loss: LossSection = Field(default_factory=lambda: LossSection.model_validate({}))

    @property
    def learns_from(self) -> dict[str, str]:
        """The checkpoints that weights are taken from or learned from, by what they are to the run."""
        teacher = {"teacher": self.distillation.teacher} if self.distillation is not None else {}
        return super().learns_from | teacher

    @property
    def auxiliary_batch(self) -> int:
        """How many images of a batch are of the auxiliary set."""
        return max(1, round(self.auxiliary.share * self.batch_size)) if self.auxiliary is not None else 0

    @model_validator(mode="after")
    def _leaves_room(self) -> Recipe:
        if self.auxiliary is not None and self.auxiliary_batch >= self.batch_size:
            raise ValueError(
                f"auxiliary.share {self.auxiliary.share} of a batch of {self.batch_size} leaves none for the data set"
            )
        return self

    @property
    def early_augmentation(self) -> AugmentationSection:
        """The augmentation of the first part of the schedule."""
        change = self.early.model_dump(include={"crop_hw", "scale"}) if self.early is not None else {}
        return self.augmentation.model_copy(update=change)


def resolve_recipe(name_or_path: str, folder: Path = RECIPE_FOLDER) -> Path:
    """Find a recipe by path, or by the name of one that is shipped in ``folder``."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = folder / f"{name_or_path}.yaml"
    if shipped.is_file():
        return shipped
    names = ", ".join(shipped_recipes(folder))
    raise RecipeError(f"no recipe {name_or_path!r}: give the path of a YAML file, or one of: {names}")


def shipped_recipes(folder: Path = RECIPE_FOLDER) -> list[str]:
    """List the names of the recipes that are shipped in ``folder``."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and change single values of it.

    A file with ``base: RECIPE``, a path from its own folder or the name of a shipped one, holds only what differs from that.

    Args:
        path: of the YAML file.
        overrides: ``key=value`` with dots between levels, such as ``optimizer.lr=0.01``; values are read as YAML.

    Raises RecipeError that names each value that does not fit.
    """
    return parse_recipe(read_values(path, overrides), source=str(path))


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe's YAML, on top of its base's, and change single values, see ``load_recipe``; nothing is checked."""
    values = _read_with_base(path)
    for override in overrides:
        _override(values, override)
    return values


def _read_with_base(path: Path, derived: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a recipe's values on top of its base's; ``derived`` are the files that lead here."""
    path = path.resolve()
    if path in derived:
        raise RecipeError(f"the recipe {path} is its own base: {' -> '.join(p.name for p in (*derived, path))}")
    try:
        values = load_yaml(path)
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"the recipe {path} is not a mapping of sections such as network, dataset and schedule")
    values = with_current_keys(values, str(path))
    base = values.pop("base", None)
    if base is None:
        return values
    beside = path.parent / str(base)
    base_path = beside if beside.is_file() else resolve_recipe(str(base))
    return _merged(_read_with_base(base_path, (*derived, path)), values)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both_sections = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_sections else value
    return merged


def parse_recipe(values: dict[str, Any], source: str = "recipe") -> Recipe:
    """Validate a recipe that was read as plain dictionaries."""
    recipe = validate(Recipe, with_current_keys(values), source)
    check_schedule(recipe.schedule, source)
    return recipe


def validate(model: type[Model], values: dict[str, Any], source: str) -> Model:
    """Validate plain dictionaries; raises RecipeError that names each value that does not fit."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{source}: {faults}") from error


def check_schedule(schedule: ScheduleSection, source: str) -> None:
    """Raise RecipeError unless a schedule gives its length once, and its warm-up at most once."""
    if (schedule.epochs is None) == (schedule.steps is None):
        raise RecipeError(f"{source}: schedule needs either epochs or steps, and not both")
    if schedule.warmup_steps and schedule.warmup_epochs:
        raise RecipeError(f"{source}: schedule takes warmup_epochs or warmup_steps, and not both")


def differing_keys(recipe: BaseModel, made_by: dict[str, Any]) -> list[str]:
    """Name the keys in which a recipe that a run wrote down differs from ``recipe``.

    A key that the run did not write, because its version had none, counts as its default. ``note`` and ``workers`` do not count:
    what is said of a run, and how many processes prepare samples, changes nothing.
    """
    made_by = with_current_keys(made_by)
    try:
        earlier = type(recipe).model_validate(made_by).model_dump(mode="json")
    except ValidationError:  # it has values that this version does not take
        earlier = made_by
    ours = recipe.model_dump(mode="json")
    return [
        key
        for key in dict.fromkeys((*ours, *earlier))
        if key not in ("note", "workers") and (key not in ours or key not in earlier or earlier[key] != ours[key])
    ]


def differing_in_training(recipe: BaseModel, made_by: dict[str, Any]) -> list[str]:
    """Name the keys in which two recipes train differently.

    Passes over what else ``differing_keys`` names: ``loss.logit_adjustment`` and ``inference`` only say how the network is used.
    """
    ours = recipe.model_dump(mode="json")
    made_by = with_current_keys(made_by)
    used_alike = dict(made_by)
    if "inference" in ours:
        used_alike["inference"] = ours["inference"]
    if "logit_adjustment" in ours.get("loss", {}) and isinstance(made_by.get("loss"), dict):
        used_alike["loss"] = {**made_by["loss"], "logit_adjustment": ours["loss"]["logit_adjustment"]}
    return differing_keys(recipe, used_alike)


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"{override!r} is not key=value, such as optimizer.lr=0.01")
    *sections, name = current_key(key, override).split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise RecipeError(f"{override!r}: {section} is a value, not a section")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{override!r}: the value is not YAML: {error}") from error
    if lost := _left_out(target.get(name), value):
        section = ".".join((*sections, name))
        warnings.warn(
            f"{section}={{...}} replaces the whole section: {', '.join(lost)} fall back to their defaults; {section}.KEY=VALUE "
            "changes single values",
            RecipeWarning,
            stacklevel=2,
        )
    target[name] = value


def _left_out(old: Any, new: Any, place: str = "") -> list[str]:
    """List the keys of a section that another in its place does not give, with dots between levels and the values that they had."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return []
    lost = [f"{place}{key} ({value})" for key, value in old.items() if key not in new]
    return lost + [text for key in old if key in new for text in _left_out(old[key], new[key], f"{place}{key}.")]
