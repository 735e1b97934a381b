"""`lwseg table`: train, export and tabulate networks."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwseg_ros.datasets import DATASETS
from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.model.model_file import ModelFile, load_model, resolve_model
from lwseg_training.config.recipe import DatasetSection, Recipe, load_recipe, resolve_recipe, shipped_recipes
from lwseg_training.distributed import Process, training_process
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
    "  lwseg table pilot dwrseg_b_camvid --data data/camvid --hold-out 0006R0 0001TP --readme README.md\n"
    "  lwseg table --models lite_seg0_camvid --data data/camvid"
)


@dataclass
class Entry:
    """A row with what it is of: a recipe and the summary of its run, a model file that is there already or comes of the run."""

    row: Row
    dataset: DatasetSection
    recipe: Recipe | None = None
    model: ModelFile | None = None
    summary: dict[str, Any] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
        "--hold-out",
        "--leave-out",
        dest="held_out",
        nargs="+",
        default=[],
        metavar="SEQUENCE",
        help="train each recipe without each of these too and evaluate it on them; in DIR/compare/RECIPE/SEQUENCE",
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
    return finish(tabulated(entries, args), args)


def planned(args: argparse.Namespace) -> list[Entry]:
    """List the rows to be; raises before any work is done where a recipe or a model file is none, or the rows do not belong
    in one table: figures on several data sets or splits do not compare."""
    recipes = args.recipes
    if not recipes and not args.models:
        recipes = [name for name in shipped_recipes() if load_recipe(resolve_recipe(name)).dataset.name == args.dataset]
    entries = []
    for path in map(resolve_recipe, recipes):
        recipe = load_recipe(path)
        check_starts(path.stem, recipe, args.out, Path("runs"))
        row = Row(path.stem, recipe.network.name, recipe.note, recipe.dataset.train_splits)
        entries.append(Entry(row, recipe.dataset, recipe))
    for model in (load_model(resolve_model(text)) for text in args.models):
        made_by = recipe_of(model.manifest)
        dataset = dataset_of(model.manifest)
        note = made_by.note if made_by is not None else ""
        row = Row(model.path.name, model.manifest.network, note, dataset.train_splits)
        entries.append(Entry(row, dataset, model=model))
    if not entries:
        raise RecipeError("there is nothing to tabulate; name recipes or --models, or a --dataset that has recipes")
    twice = sorted(name for name, count in Counter(entry.row.name for entry in entries).items() if count > 1)
    if twice:
        raise RecipeError(f"{', '.join(twice)} would be in the table twice; name each once, or rename a file")
    if len({(entry.dataset.name, entry.dataset.evaluated_split) for entry in entries}) > 1:
        listed = "; ".join(f"{e.row.name}: {e.dataset.name} {e.dataset.evaluated_split}" for e in entries)
        raise RecipeError(
            f"figures on several data sets or splits do not belong in one table ({listed}); make one for each"
        )
    return entries


@contextmanager
def keeping_on(row: Row, world_size: int = 1) -> Iterator[None]:
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
        row.fail(reason)
        print(f"lwseg table: {row.name}: {reason}", file=sys.stderr, flush=True)


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

    row = entry.row
    with keeping_on(row, process.world_size):
        entry.summary = result(recipe, args.out / row.name, row.name)
    for sequence in args.held_out:
        with keeping_on(row, process.world_size):
            folder = args.out / "compare" / row.name / sequence
            summary = result(without_sequence(recipe, sequence), folder, f"{row.name} without {sequence}")
            row.held_out[sequence] = summary["last"]["miou"]


def tabulated(entries: Sequence[Entry], args: argparse.Namespace) -> dict[str, Any]:
    """Export and measure what was trained; return the table, its rows filled in."""
    models: dict[str, ModelFile] = {}
    dates: list[str] = []
    for entry in entries:
        name = entry.row.name
        with keeping_on(entry.row):
            if entry.recipe is not None and entry.summary is not None:
                print(f"exporting and evaluating {name}", file=sys.stderr, flush=True)
                path = args.out / "models" / f"{name}.onnx"
                entry.model = exported_model(
                    entry.recipe, args.out / name, path, args.data, _held_out_runs(entry, args)
                )
            if entry.model is not None:
                figures = model_figures(name, entry.model, args.data, args.out / "figures", again=args.remeasure)
                _fill(entry.row, entry.model, figures, entry.summary or {})
                models[name] = entry.model
                dates.append(figures["date"])
    rows = {entry.row.name: entry.row for entry in entries}
    timed: dict[str, Any] = {}
    if models and not args.no_latency:
        timed, faults = latencies(models, args.seconds, args.out / "latency.json", again=args.remeasure)
        dates.append(timed["date"])
        for name, model in models.items():
            rows[name].cpu, rows[name].gpu = (timed["models"][model.sha256][kind] for kind in ("cpu", "gpu"))
        for name, reason in faults:
            rows[name].fail(reason)
    return {
        "date": max(dates, default=None),
        "command": _command(args),
        "dataset": entries[0].dataset.name,
        "split": entries[0].dataset.evaluated_split,
        "sequences": args.held_out or list(dict.fromkeys(s for entry in entries for s in entry.row.held_out)),
        "latency": {key: value for key, value in timed.items() if key != "models"} or None,
        "rows": list(rows.values()),
    }


def _held_out_runs(entry: Entry, args: argparse.Namespace) -> dict[str, Path]:
    """Return the checkpoints of a recipe's finished held-out runs, by sequence, where more than the summary is left."""
    paths = {s: args.out / "compare" / entry.row.name / s / "last.pt" for s in entry.row.held_out}
    return {sequence: path for sequence, path in paths.items() if path.is_file()}


def _fill(row: Row, model: ModelFile, figures: dict[str, Any], summary: dict[str, Any]) -> None:
    """Put what a model file, its figures and the summary of its run tell into a row."""
    manifest = model.manifest
    row.input_size_hw = manifest.input_size_hw
    row.steps, row.epochs, row.training_seconds = (manifest.training.get(k) for k in ("steps", "epochs", "seconds"))
    made_by = recipe_of(manifest)
    if row.steps is not None and made_by is not None:
        row.images_seen = row.steps * made_by.batch_size
    device = summary.get("device", "")
    row.hardware = summary.get("hardware") or (device.upper() if device == "cpu" else device)
    row.parameters, row.multiply_adds, row.images = (figures[k] for k in ("parameters", "multiply_adds", "images"))
    row.miou, row.ece = figures["miou"], figures["uncertainty"]["ece"]
    for sequence, held_out in manifest.held_out.get("sequences", {}).items():
        row.held_out.setdefault(sequence, held_out["miou"])
        for kept, name in ((row.held_out_ece, "ece"), (row.held_out_auroc, "auroc")):
            if name in held_out:
                kept[sequence] = held_out[name]


def _command(args: argparse.Namespace) -> str:
    """Write the command that made a table, without the folders of the machine it ran on."""
    words = ["lwseg", "table", *(Path(text).stem for text in args.recipes)]
    if args.models:
        words += ["--models", *(Path(text).name for text in args.models)]
    elif not args.recipes:
        words += ["--dataset", args.dataset]
    words += ["--data", "DIR"]
    if args.held_out:
        words += ["--hold-out", *args.held_out]
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
