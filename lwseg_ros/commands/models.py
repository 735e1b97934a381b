"""`lwseg models`: shipped models, or those named, in the precisions that there are, and which each runtime here takes."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from lwseg_ros.backends import BACKENDS, BackendOptions, load_runtime
from lwseg_ros.commands.arguments import MODEL_HELP
from lwseg_ros.host.terminal import say, visible
from lwseg_ros.model.card import miou_of, model_card, object_under, shown, terms_of
from lwseg_ros.model.model_file import DEFAULT_MODEL, ModelFile, shipped_models
from lwseg_ros.model.precisions import ModelPrecisions, find_model

HELP = (
    "List models with their figures, the precisions that there are of each, what those cost, and which of them each runtime of "
    "this machine takes; or print their model cards."
)
EXAMPLE = f"lwseg models {DEFAULT_MODEL} --card"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{MODEL_HELP} (default: the shipped ones)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the list as JSON")
    form.add_argument(
        "--card", action="store_true", help="print what a model is made of, its figures and its limits, as Markdown"
    )


def run(args: argparse.Namespace) -> int:
    """Look and print; a conversion that is refused is a warning."""
    found = {name: find_model(name) for name in args.models or shipped_models()}
    for model in found.values():
        for reason in model.refused:
            say(f"warning: {reason}", file=sys.stderr)
    if args.card:
        say("\n\n".join(model_card(name, model) for name, model in found.items()))
        return 0
    listed = {name: described(model) for name, model in found.items()}
    say(json.dumps(listed, indent=2) if args.json else "\n\n".join(table(*item) for item in listed.items()))
    return 0


def described(model: ModelPrecisions) -> dict[str, Any]:
    """Return what there is to say of a model, its files, and the file that each runtime of this machine takes."""
    manifest, options = model.model.manifest, BackendOptions()
    taken = {}
    for name in BACKENDS:
        runtime = load_runtime(name)
        if runtime.probe(options).available:
            taken[name] = model.best_first(runtime.preferred_precisions(options))[0].path.name
    return {
        "network": manifest.network,
        "dataset": manifest.dataset,
        "classes": [info.name for info in manifest.classes],
        "input_size_hw": list(manifest.input_size_hw),
        "miou": miou_of(manifest),
        "terms": terms_of(manifest),
        "files": [_file(file) for file in (model.model, *model.others.values())],
        "taken": taken,
    }


def table(name: str, model: dict[str, Any]) -> str:
    """Put a model into lines of text."""
    height, width = model["input_size_hw"]
    lines = [f"{name}: {model['network']}, {model['dataset']}, {len(model['classes'])} classes, {height} x {width}"]
    measured = [f"{on} {miou:.4f}" for on, miou in model["miou"].items() if miou is not None]
    lines += [f"  mIoU: {', '.join(measured) or 'not measured'}", f"  terms of its data: {model['terms']}"]
    for file in model["files"]:
        lines.append(f"  {file['precision']:<5} {file['bytes'] / 1e6:6.2f} MB  {file['sha256'][:12]}  {file['path']}")
        for runtime, said in object_under(file["parent"], "runtimes").items():
            forms = {"miou": ".4f", "miou_change": "+.4f", "equal_labels": ".2%"}
            miou, change, equal = (_figure(object_under(said).get(key), form) for key, form in forms.items())
            lines.append(
                f"        in {visible(runtime)}: mIoU {miou} ({change}), the fp32 file's labels on {equal} of the pixels"
            )
    return "\n".join([*lines, *(f"  {runtime} takes {file}" for runtime, file in model["taken"].items())])


def _figure(value: object, form: str) -> str:
    """Format a figure; what is none is left to `shown`, since a manifest's `parent` is free in form."""
    return format(value, form) if isinstance(value, float) else shown(value)


def _file(model: ModelFile) -> dict[str, Any]:
    return {
        "path": str(model.path),
        "precision": model.manifest.precision,
        "bytes": len(model.data),
        "sha256": model.sha256,
        "parent": model.manifest.parent,
    }
