"""`lwseg table`: train, export and tabulate networks."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwseg_ros.datasets import DATASETS
from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.model_file import ModelFile, load_model, resolve_model
from lwseg_training.config.recipe import Recipe, load_recipe, resolve_recipe, shipped_recipes
from lwseg_training.engine.distributed import Process, training_process
from lwseg_training.engine.fit import TrainingStoppedError, fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.experiments.cross_validation import check_starts, finished_summary, without_sequence
from lwseg_training.experiments.table.files import README_PICTURE, as_json, markdown, write_into_readme, write_table
from lwseg_training.experiments.table.marked_section import read_markdown
from lwseg_training.experiments.table.measurements import (
    dataset_of,
    exported_model,
    latencies,
    model_figures,
    recipe_of,
)
from lwseg_training.experiments.table.rows import Row

HELP = (
    "Train recipes, export their networks and tabulate them: size, accuracy, latency. What is finished in the output folder "
    "is read, what is begun is gone on with; the runs are those of `lwseg train` and `lwseg compare`. A recipe that fails "
    "does not stop the others. Writes table.md, table.json and accuracy_latency.png."
)
EXAMPLE = (
    "lwseg table --data data/camvid\n"
    "  lwseg table pilot dwrseg_b_camvid --data data/camvid --leave-out 0006R0 0001TP --readme README.md\n"
    "  lwseg table --models dwrseg_b_camvid --data data/camvid"
)


@dataclass
class Entry:
    """A row to be: a recipe with its run, or a model file that is there; what has been found out about it so far."""

    name: str
    recipe: Recipe | None
    model: ModelFile | None = None
    summary: dict[str, Any] | None = None
    fault: str = ""

    def fail(self, reason: str) -> None:
        """Note why figures are missing, beside what was noted before."""
        self.fault = f"{self.fault}; {reason}" if self.fault else reason


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="YAML files, or names of shipped recipes")
    parser.add_argument(
        "--dataset",
        choices=sorted(DATASETS),
        default="camvid",
        help="without RECIPE and --models: all shipped recipes for this data set, the papers' long ones too: a day on a GPU "
        "(default: %(default)s)",
    )
    parser.add_argument("--models", nargs="+", default=[], metavar="MODEL", help="also model files, or shipped models")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="runs lie in DIR/RECIPE (default: %(default)s)"
    )
    parser.add_argument(
        "--leave-out",
        nargs="+",
        default=[],
        metavar="SEQUENCE",
        help="train each recipe without each of these too and judge it on them; in DIR/compare/RECIPE/SEQUENCE",
    )
    parser.add_argument("--no-training", action="store_true", help="only tabulate runs that are finished")
    parser.add_argument("--no-latency", action="store_true", help="leave latency out")
    parser.add_argument("--remeasure", action="store_true", help="measure all figures even if this machine did before")
    parser.add_argument("--seconds", type=float, default=5.0, help="of latency for each network (default: %(default)s)")
    parser.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help=f"put the table between its markers, the picture in {README_PICTURE}",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="to train on; default: a GPU if there is one"
    )
    parser.add_argument("--json", action="store_true", help="print table.json instead of table.md")


def run(args: argparse.Namespace) -> int:
    """Train, export, measure, write; 1 where a row could not be filled."""
    if not (math.isfinite(args.seconds) and args.seconds > 0):
        print(f"lwseg table: --seconds is {args.seconds}, expected more than 0", file=sys.stderr)
        return 2
    entries = planned(args)
    split_names = _only_one_split(entries)
    if args.readme is not None:
        read_markdown(args.readme)  # better refused now than after the training
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"cannot make the folder {args.out} ({error.strerror}); choose another --out") from error
    with training_process(args.device) as process:
        for entry in entries:
            if entry.recipe is not None:
                train(entry, entry.recipe, args, process)
    if not process.is_main:
        return 0
    table = tabulated(entries, args)
    table.update(zip(("dataset", "split"), split_names, strict=True))
    return finish(table, args)


def planned(args: argparse.Namespace) -> list[Entry]:
    """List the rows to be; raises before any work is done where a recipe or a model file is none."""
    recipes = args.recipes
    if not recipes and not args.models:
        recipes = [name for name in shipped_recipes() if load_recipe(resolve_recipe(name)).dataset.name == args.dataset]
    paths = [resolve_recipe(text) for text in recipes]
    entries = [Entry(path.stem, load_recipe(path)) for path in paths]
    models = [load_model(resolve_model(text)) for text in args.models]
    entries += [Entry(model.path.name, None, model) for model in models]
    for entry in entries:
        if entry.recipe is not None:
            check_starts(entry.name, entry.recipe, args.out, Path("runs"))
    names = [entry.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"{', '.join(twice)} would be in the table twice; name each once, or rename a file")
    return entries


def _only_one_split(entries: Sequence[Entry]) -> tuple[str, str]:
    """Return the data set and the split that all rows are judged on; figures on others do not belong in one table."""
    sections = []
    for entry in entries:
        section = entry.recipe.dataset if entry.recipe else dataset_of(entry.model.manifest) if entry.model else None
        if section is not None:
            left_out = "left out " + " ".join(section.leave_out)
            sections.append((section.name, left_out if section.leave_out else section.validation_split))
    if not sections:
        raise RecipeError("there is nothing to tabulate; name recipes or --models, or a --dataset that has recipes")
    if len(set(sections)) > 1:
        listed = "; ".join(f"{e.name}: {name} {split}" for e, (name, split) in zip(entries, sections, strict=True))
        raise RecipeError(
            f"figures on several data sets or splits do not belong in one table ({listed}); make one for each"
        )
    return sections[0]


@contextmanager
def keeping_on(entry: Entry, world_size: int = 1) -> Iterator[None]:
    """Note the failure of a row instead of ending the command: the hours of the others are not to be lost.

    One of several processes that fails ends the command, since the others wait for it.
    """
    try:
        yield
    except TrainingStoppedError:  # somebody wants the command to end
        raise
    except Exception as error:
        if world_size > 1:
            raise
        reason = " ".join(str(error).split())
        if not isinstance(error, LwsegError | OSError):
            traceback.print_exc()
            reason = f"{type(error).__name__}: {reason}"
        entry.fail(reason)
        print(f"lwseg table: {entry.name}: {reason}", file=sys.stderr, flush=True)


def train(entry: Entry, recipe: Recipe, args: argparse.Namespace, process: Process) -> None:
    """Train a recipe, and once more without each sequence, where that is not finished already."""

    def result(recipe: Recipe, folder: Path, what: str) -> dict[str, Any]:
        summary = finished_summary(recipe, folder)
        if summary is None and args.no_training:
            raise RecipeError(f"no finished run of this recipe in {folder}; leave --no-training out to train it")
        if summary is None:
            if process.is_main:
                print(f"training {what}", file=sys.stderr, flush=True)
            summary = fit(SegmentationTask(recipe, args.data, process), folder, resume=True)
        return summary

    with keeping_on(entry, process.world_size):
        entry.summary = result(recipe, args.out / entry.name, entry.name)
    for sequence in args.leave_out:
        with keeping_on(entry, process.world_size):
            folder = _left_out_folder(args.out, entry.name, sequence)
            result(without_sequence(recipe, sequence), folder, f"{entry.name} without {sequence}")


def _left_out_folder(out: Path, name: str, sequence: str) -> Path:
    return out / "compare" / name / sequence


def tabulated(entries: Sequence[Entry], args: argparse.Namespace) -> dict[str, Any]:
    """Export and measure what was trained; return the rows and what the figures were measured on."""
    figures: dict[str, dict[str, Any]] = {}
    for entry in entries:
        with keeping_on(entry):
            if entry.recipe is not None and entry.summary is not None:
                run_folder = args.out / entry.name
                model_path = args.out / "models" / f"{entry.name}.onnx"
                print(f"exporting and judging {entry.name}", file=sys.stderr, flush=True)
                entry.model = exported_model(entry.recipe, run_folder, model_path, args.data)
            if entry.model is not None:
                figures[entry.name] = model_figures(
                    entry.name, entry.model, args.data, args.out / "figures", again=args.remeasure
                )
    models = {entry.name: entry.model for entry in entries if entry.model is not None and entry.name in figures}
    timed: dict[str, Any] = {}
    if models and not args.no_latency:
        timed, faults = latencies(models, args.seconds, args.out / "latency.json", again=args.remeasure)
        for entry in entries:
            if entry.name in faults:
                entry.fail(faults[entry.name])
    rows = [_row(entry, figures.get(entry.name), timed, args) for entry in entries]
    dates = [f["date"] for f in figures.values()] + ([timed["date"]] if timed else [])
    return {
        "date": max(dates, default=None),
        "command": _command(args),
        "sequences": args.leave_out,
        "latency": {key: value for key, value in timed.items() if key != "models"} or None,
        "rows": rows,
    }


def _row(entry: Entry, figures: dict[str, Any] | None, timed: dict[str, Any], args: argparse.Namespace) -> Row:
    """Collect all that is known of a row."""
    left_out = {}
    if entry.recipe is not None:
        for sequence in args.leave_out:
            folder = _left_out_folder(args.out, entry.name, sequence)
            summary = finished_summary(without_sequence(entry.recipe, sequence), folder)
            if summary is not None:
                left_out[sequence] = summary["last"]["miou"]
    if entry.model is None or figures is None:
        recipe = entry.recipe
        network, note = (recipe.network.name, recipe.note) if recipe is not None else ("", "")
        return Row(entry.name, network, note, left_out=left_out, fault=entry.fault)
    manifest = entry.model.manifest
    made_by, training = recipe_of(manifest), manifest.training
    noted = entry.recipe or made_by
    steps, summary = training.get("steps"), entry.summary or {}
    device = summary.get("device", "")
    latency = timed.get("models", {}).get(entry.model.sha256, {})
    return Row(
        name=entry.name,
        network=manifest.network,
        note=noted.note if noted is not None else "",
        steps=steps,
        epochs=training.get("epochs"),
        images_seen=steps * made_by.batch_size if steps is not None and made_by is not None else None,
        training_seconds=training.get("seconds"),
        hardware=summary.get("hardware") or (device.upper() if device == "cpu" else device),
        parameters=figures["parameters"],
        multiply_adds=figures["multiply_adds"],
        input_size_hw=manifest.input_size_hw,
        miou=figures["miou"],
        ece=figures["uncertainty"]["ece"],
        images=figures["images"],
        left_out=left_out,
        cpu=latency.get("cpu"),
        gpu=latency.get("gpu"),
        fault=entry.fault,
    )


def _command(args: argparse.Namespace) -> str:
    """Write the command that made a table, without the folders of the machine it ran on."""
    words = ["lwseg", "table", *(Path(text).stem for text in args.recipes)]
    if args.models:
        words += ["--models", *(Path(text).name for text in args.models)]
    elif not args.recipes:
        words += ["--dataset", args.dataset]
    words += ["--data", "DIR"]
    if args.leave_out:
        words += ["--leave-out", *args.leave_out]
    if args.no_latency:
        words.append("--no-latency")
    return shlex.join(words)


def finish(table: dict[str, Any], args: argparse.Namespace) -> int:
    """Write the files, print the table, and say which rows failed; a README gets only a table without failures."""
    rows: list[Row] = table["rows"]
    write_table(table, args.out)
    print(json.dumps(as_json(table), indent=2) if args.json else markdown(table), end="\n" if args.json else "")
    faults = [f"{row.name} ({row.fault})" for row in rows if row.fault]
    if faults:
        untouched = f"; {args.readme} is left as it was" if args.readme is not None else ""
        raise LwsegError(f"{len(faults)} of {len(rows)} rows failed{untouched}: {'; '.join(faults)}")
    if args.readme is not None:
        write_into_readme(table, args.readme)
    return 0
