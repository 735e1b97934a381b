"""Recipes compared on recordings that they never saw: train without a sequence, evaluate on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwseg_ros.errors import RecipeError
from lwseg_ros.host.files import write_atomically
from lwseg_training.config.recipe import Recipe, differing_keys
from lwseg_training.distributed import Process
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.warm_start import changed_since


@dataclass(frozen=True)
class HeldOutRun:
    """One recipe trained without one sequence and evaluated on it by its last weights, not its best: nothing is chosen on
    what is held out. mIoU in [0, 1]."""

    recipe: str
    sequence: str
    miou: float
    pixel_accuracy: float
    steps: int
    training_seconds: float
    device: str


def finished_summary(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """Return the summary of a recipe's finished run in a folder, None where there is none of this very recipe."""
    summary_file = folder / "summary.json"
    if not summary_file.is_file():
        return None
    summary: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
    if differing_keys(recipe, summary.get("recipe", {})) or changed_since(recipe, summary):
        return None
    return summary


def check_starts(name: str, recipe: Recipe, out: Path, usual: Path) -> None:
    """Refuse a recipe that starts or learns from a run in the usual folder where the runs are put into another one.

    Args:
        name: of the recipe.
        recipe: whose starts and teachers are looked at.
        out: where runs are put.
        usual: where they are put by default, as shipped recipes have it.
    """
    taught = recipe.distillation
    teachers = (taught.teacher, taught.teacher_held_out) if taught is not None else ()
    for start in (recipe.network.warm_start, recipe.network.warm_start_held_out, *teachers):
        if start is not None and Path(start).is_relative_to(usual) and out != usual:
            raise RecipeError(
                f"{name} starts from {start}, but runs are put into {out}: work in the folder that holds {usual.parts[0]} and "
                f"leave --out at {usual}, or change the start in a recipe of your own"
            )


def run_held_out(
    name: str, recipe: Recipe, sequence: str, data_root: Path, folder: Path, process: Process
) -> HeldOutRun:
    """Train a recipe without a sequence in ``folder``, or go on with it, or read its result if it is finished there."""
    recipe = without_sequence(recipe, sequence)
    summary = finished_summary(recipe, folder)
    if summary is None:
        summary = fit(SegmentationTask(recipe, data_root, process), folder, resume=True)
    last = summary["last"]
    of_run = {key: summary[key] for key in ("steps", "training_seconds", "device")}
    return HeldOutRun(name, sequence, last["miou"], last["pixel_accuracy"], **of_run)


def without_sequence(recipe: Recipe, sequence: str) -> Recipe:
    """Return a recipe that does not train on a sequence, nor starts from or learns from what was trained on it, and is evaluated
    on it."""
    dataset = recipe.dataset.model_copy(update={"held_out": (sequence,)})
    network = recipe.network
    if network.warm_start_held_out is not None:
        start = network.warm_start_held_out.replace("{sequence}", sequence)
        network = network.model_copy(update={"warm_start": start})
    distillation = recipe.distillation
    if distillation is not None and distillation.teacher_held_out is not None:
        teacher = distillation.teacher_held_out.replace("{sequence}", sequence)
        distillation = distillation.model_copy(update={"teacher": teacher})
    return recipe.model_copy(update={"dataset": dataset, "network": network, "distillation": distillation})


def comparison_table(runs: Sequence[HeldOutRun]) -> str:
    """Lay out a Markdown table: a row a recipe, a column a sequence, and the mean over the sequences."""
    sequences = list(dict.fromkeys(run.sequence for run in runs))
    lines = [
        "| recipe | " + " | ".join(f"without {s}" for s in sequences) + " | mean | steps | hours | device |",
        "| --- " * (len(sequences) + 5) + "|",
    ]
    for name in dict.fromkeys(run.recipe for run in runs):
        own = {run.sequence: run for run in runs if run.recipe == name}
        cells = [f"{own[s].miou:.3f}" if s in own else "" for s in sequences]
        mean = f"{sum(run.miou for run in own.values()) / len(own):.3f}" if len(own) == len(sequences) else ""
        steps = "/".join(str(run.steps) for run in own.values())
        hours = sum(run.training_seconds for run in own.values()) / 3600
        devices = ", ".join(sorted({run.device for run in own.values()}))
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {mean} | {steps} | {hours:.1f} | {devices} |")
    return "\n".join(lines) + "\n"


def comparison_json(runs: Sequence[HeldOutRun]) -> str:
    """Write the runs as a JSON list."""
    return json.dumps([vars(run) for run in runs], indent=2) + "\n"


def write_comparison(runs: Sequence[HeldOutRun], out: Path) -> None:
    """Write comparison.md and comparison.json into a folder."""
    write_atomically(out / "comparison.md", comparison_table(runs).encode())
    write_atomically(out / "comparison.json", comparison_json(runs).encode())
