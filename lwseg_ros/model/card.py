"""The model card: what a model is made of, how good it is and what it is not for, from its manifest alone (Mitchell et al.: Model
Cards for Model Reporting, FAT* 2019)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lwseg_ros.datasets import PROVENANCES, TRAINED_ON
from lwseg_ros.host.terminal import visible
from lwseg_ros.model.manifest import NO_UNCERTAINTY, Manifest
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.model.precisions import ModelPrecisions

FIGURES = {"miou": "mIoU", "pixel_accuracy": "pixel accuracy", "ece": "ECE", "auroc": "AUROC of errors"}
"""Titles of the figures in a manifest's `validation` and `held_out`; docs/replay.md tells what they are."""
PUBLISHED_START = "imagenet"
"""What a recipe's `network.pretrained` calls weights that were published as a package."""
NOT_RECORDED = "source and terms are not recorded in the file; ask whoever made it"


def model_card(name: str, model: ModelPrecisions) -> str:
    """Write the card of a model and its conversions as Markdown that says the same on every machine.

    The manifest's figures and recipe are free in form; what is missing there, or of another form, is said to be missing.
    """
    manifest = model.model.manifest
    height, width = manifest.input_size_hw
    classes = ", ".join(f"{info.id} {visible(info.name)}" for info in manifest.classes)
    ignored = "" if manifest.ignore_id is None else f" Not labelled in its data: {manifest.ignore_id}."
    sections = {
        f"# Model card: {_code(name)}": (
            f"The network {_code(manifest.network)}, trained on {_code(manifest.dataset)}: camera images in, brought to "
            f"{width} x {height} pixels (width x height); a class for each pixel and its uncertainty out.\n\n"
            f"Classes: {classes}.{ignored}"
        ),
        "## Files": _files([model.model, *model.others.values()]),
        "## Data and terms": _terms(manifest),
        "## Figures": _figures(manifest),
        "## Calibration": _calibration(manifest),
        "## Accepted pixels": _accepted_pixels(manifest),
        "## Limits": _limits(manifest),
        "## Training": _training(manifest),
    }
    return "\n\n".join(part for section in sections.items() for part in section)


def miou_of(manifest: Manifest) -> dict[str, float | None]:
    """Return the mIoU on the validation split, and the mean over held-out sequences; None where it was not measured, or on
    images that were trained on."""
    validation = {} if _trained_on_validation(manifest) else manifest.validation
    figures = {"validation": validation, "held out": object_under(manifest.held_out, "mean")}
    values = {on: entry.get("miou") for on, entry in figures.items()}
    return {on: value if isinstance(value, float) else None for on, value in values.items()}


def _trained_on_validation(manifest: Manifest) -> bool:
    split = str(manifest.validation.get("split"))
    return split.endswith(TRAINED_ON) or manifest.trained_on(manifest.dataset, split)


def terms_of(manifest: Manifest) -> str:
    """Return the terms of the data set that a model was trained on, in a line."""
    provenance = PROVENANCES.get(manifest.dataset)
    return NOT_RECORDED if provenance is None else provenance.terms


def _files(files: Sequence[ModelFile]) -> str:
    rows = [(_code(f.path.name), f.manifest.precision, f"{len(f.data) / 1e6:.2f} MB", _code(f.sha256)) for f in files]
    text = _table(("file", "precision", "size", "SHA-256"), rows)
    compared = [
        (
            _code(file.path.name),
            _code(runtime),
            *(shown(object_under(figures).get(key)) for key in ("miou", "miou_change", "equal_labels")),
        )
        for file in files
        for runtime, figures in object_under(file.manifest.parent, "runtimes").items()
    ]
    if not compared:
        return text
    return f"{text}\n\nConversions beside the file that they were made of, on its validation split:\n\n" + _table(
        ("file", "runtime", "mIoU", "change", "share of pixels with equal labels"), compared
    )


def _terms(manifest: Manifest) -> str:
    recipe = object_under(manifest.training, "recipe")
    network, auxiliary = object_under(recipe, "network"), object_under(recipe, "auxiliary")
    lines = [f"Images: {_provenance(manifest.dataset)}"]
    if auxiliary:
        folder = f" ({_code(Path(str(auxiliary['root'])).name)})" if "root" in auxiliary else ""
        lines.append(f"More images{folder}: {_provenance(str(auxiliary.get('dataset')))}")
    if network.get("pretrained") == PUBLISHED_START:
        lines.append(
            f"Weights that its backbone started from: published under Apache-2.0, trained on {_provenance('imagenet1k')}"
        )
    elif network.get("pretrained"):
        lines.append(f"Weights that its backbone started from: {_code(network['pretrained'])}; {NOT_RECORDED}.")
    starts = {
        "Weights that training started from": network.get("warm_start") or network.get("initial_weights"),
        "Teacher that it learned from": object_under(recipe, "distillation").get("teacher"),
        "Network of others": object_under(manifest.training, "adopted").get("file"),
    }
    lines += [f"{what}: {_code(source)}; {NOT_RECORDED}." for what, source in starts.items() if source]
    lines.append(
        "These weights are made of all that, so its terms hold for them too. The licence of the package, Apache-2.0, is that of "
        "its code and not of these weights."
    )
    return _list(lines)


def _provenance(dataset: str) -> str:
    known = PROVENANCES.get(dataset)
    if known is None:
        return f"{_code(dataset)}; {NOT_RECORDED}."
    return f"{known.title}. {known.source}. Terms: **{known.terms}**."


def _figures(manifest: Manifest) -> str:
    validation, sequences = manifest.validation, object_under(manifest.held_out, "sequences")
    rows, seen = [], _trained_on_validation(manifest)
    if validation:
        split = str(validation.get("split")).removesuffix(TRAINED_ON)
        rows.append(_figures_row(f"validation, {_code(split)}{TRAINED_ON if seen else ''}", validation))
    rows += [_figures_row(f"{_code(name)}, held out", object_under(sequences, name)) for name in sequences]
    if sequences:
        counts = [object_under(sequences, name).get("images") for name in sequences]
        known_counts = [count for count in counts if isinstance(count, int)]
        images = {"images": sum(known_counts)} if len(known_counts) == len(counts) else {}
        rows.append(_figures_row("mean of those held out", images | object_under(manifest.held_out, "mean")))
    if not rows:
        return "None are in the file."
    known = PROVENANCES.get(manifest.dataset)
    notes = []
    if validation and seen:
        notes.append(
            "Validation: these images were trained on too, so their figures do not tell how good the model is."
        )
    elif validation and known is not None and known.caution:
        notes.append(f"Validation: {known.caution}.")
    if not sequences:
        notes.append(
            "Held out: not measured, or not with this file; expect less on other streets than on those of the validation."
        )
    else:
        notes.append(
            "Held out: of runs of the same recipe, each trained without the sequence that it is evaluated on. They tell what to "
            "expect on streets that were not seen; the weights in the file are of a run on all of them."
        )
        if manifest.parent:
            notes.append("Held-out figures are those of the file that this one was converted from.")
    return _table(("on", "images", *FIGURES.values()), rows) + "\n\n" + _list(notes)


def _figures_row(title: str, figures: dict[str, Any]) -> tuple[str, ...]:
    return (title, *(shown(figures.get(key)) for key in ("images", *FIGURES)))


def _calibration(manifest: Manifest) -> str:
    if manifest.uncertainty_kind == NO_UNCERTAINTY:
        return "The network gives labels alone; the uncertainty of every pixel is 255, not known."
    if manifest.held_out:
        fitted = "fitted on the held-out sequences above, each predicted by the run that had not seen it"
    elif object_under(manifest.training, "adopted") and not manifest.training.get("calibrated"):
        fitted = "not fitted to anything: the uncertainty is not calibrated"
    elif manifest.validation and _trained_on_validation(manifest):
        fitted = "fitted on images that were trained on, so that the uncertainty is too low on others"
    elif manifest.validation:
        fitted = "fitted on the validation split, so that the ECE told of it flatters"
    else:
        fitted = "of which the file does not say what it was fitted to"
    kind = _code(manifest.uncertainty_kind)
    return f"Temperature {manifest.temperature:.4f}, {fitted}. Uncertainty: {kind}. Labels do not depend on either."


def _accepted_pixels(manifest: Manifest) -> str:
    acceptance = manifest.accepted_pixels()
    if acceptance is None:
        return "None: nothing was fitted that tells which labels can be relied on."
    never = [visible(info.name) for info in manifest.classes if info.id not in acceptance.thresholds]
    text = (
        f"Of the accepted pixels of a class the share that is wrong stays under {acceptance.level:.3g}, with a confidence of "
        f"{acceptance.confidence:.3g} over the draw of streets like those that the thresholds were fitted on.\n\n"
    )
    rows = [
        (visible(info.name).replace("|", "\\|"), str(acceptance.thresholds.get(info.id, "never accepted")))
        for info in manifest.classes
    ]
    text += _table(("class", "largest accepted uncertainty (0 to 254)"), rows)
    if never:
        text += f"\n\nNever accepted, since too seldom seen or too often wrong: {', '.join(never)}."
    crossed = object_under(manifest.acceptance, "crossed")
    checked = [
        (
            _code(name),
            shown(object_under(crossed, name).get("share")),
            shown(object_under(crossed, name).get("error_rate")),
            _names(object_under(crossed, name).get("not_met")),
        )
        for name in crossed
    ]
    if checked:
        text += "\n\nOn each sequence, with thresholds that were fitted on the others:\n\n" + _table(
            ("sequence", "accepted share", "of them wrong", "classes that do not meet the level"), checked
        )
    return text


def _limits(manifest: Manifest) -> str:
    height, width = manifest.input_size_hw
    known = PROVENANCES.get(manifest.dataset)
    limits = []
    if known is not None and known.shows:
        limits.append(f"It has seen {known.shows}.")
    if known is not None and known.lacks:
        limits.append(f"It has never seen {known.lacks}.")
    limits += [
        f"It knows {manifest.num_classes} classes. Whatever else there is gets one of them, and not always a high uncertainty.",
        f"What is thinner than a pixel or two once the image is brought to {width} x {height} is lost.",
        "Calibration, accepted pixels and figures hold for streets and a camera like those that they were measured on; "
        "`lwseg evaluate` and `lwseg replay` tell them of yours.",
        "It was developed for research and is not validated for any function that people's safety depends on.",
    ]
    return _list(limits)


def _training(manifest: Manifest) -> str:
    training = manifest.training
    titles = {"commit": "commit", "steps": "steps", "epochs": "epochs", "torch_version": "PyTorch"}
    told = [f"{title} {_code(training[key])}" for key, title in titles.items() if key in training]
    if isinstance(seconds := training.get("seconds"), (int, float)):
        told.append(f"{seconds / 3600:.1f} h")
    rest = {key: value for key, value in training.items() if key not in (*titles, "seconds")}
    text = [", ".join(told)] if told else []
    if rest:  # indented, since no text within can end such a block
        text.append(textwrap.indent(yaml.safe_dump(rest, sort_keys=False, allow_unicode=True), "    ").rstrip())
    return "\n\n".join(text) or "Nothing is recorded in the file."


def object_under(values: Any, *keys: str) -> dict[str, Any]:
    """Return the object that lies under keys in objects of a manifest, or an empty one."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def shown(value: object) -> str:
    """Put a manifest's figure, or whatever stands in its place, into words."""
    if isinstance(value, float):
        return f"{value:.4f}"
    return "not measured" if value is None else _code(value) if isinstance(value, str) else str(value)


def _names(values: object) -> str:
    if not isinstance(values, list):
        return shown(None)
    return ", ".join(_code(value) for value in values) or "none"


def _code(text: object) -> str:
    """Write a name as code, in which no Markdown is read and which ends no row of a table."""
    return "`" + visible(str(text)).replace("`", "'").replace("|", "\\|") + "`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
