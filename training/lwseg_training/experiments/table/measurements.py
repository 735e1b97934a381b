"""The figures of model files for the table of networks; what is measured once is read again from JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from lwseg_ros.backends import BACKENDS, Backend, BackendOptions, load_runtime
from lwseg_ros.errors import BackendError
from lwseg_ros.evaluation.latency import MEASURED, ROUNDS, random_images, summary, take_turns
from lwseg_ros.evaluation.machine import library_versions, machine
from lwseg_ros.evaluation.split import evaluate_split
from lwseg_ros.host.files import write_json
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.model.model_file import ModelFile, load_model
from lwseg_ros.segmenter import Segmenter
from lwseg_training.config.recipe import DatasetSection, Recipe, differing_keys, parse_recipe
from lwseg_training.data.labelled_images import load_splits
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.evaluation import as_inferred
from lwseg_training.experiments.cross_fitting import cross_fit
from lwseg_training.export.export import export_checkpoint
from lwseg_training.networks import build_network
from lwseg_training.networks.count import count_network

GPU_RUNTIME = "tensorrt"
CPU_RUNTIMES = [name for name in BACKENDS if name != GPU_RUNTIME]


def exported_model(
    recipe: Recipe, run: Path, path: Path, data_root: Path, held_out: Mapping[str, Path] | None = None
) -> ModelFile:
    """Return the model file of a run's last weights, exported unless it is there and not older than they are.

    The last weights and not the best, so that nothing is selected on the split that the table evaluates on.

    Args:
        recipe: of the run.
        run: folder of the run.
        path: of the model file; nothing but this writes there.
        data_root: folder of the data set.
        held_out: checkpoints of the finished runs without a sequence, by that, which the temperature is fitted on; without any, it
            is the validation split.
    """
    held_out = held_out or {}
    checkpoint = run / "last.pt"
    made_of = [file for file in (checkpoint, *held_out.values()) if file.is_file()]
    if path.is_file() and all(path.stat().st_mtime >= file.stat().st_mtime for file in made_of):
        model = load_model(path)
        fitted_to = model.manifest.held_out.get("sequences", {})
        if not differing_keys(recipe, model.manifest.training.get("recipe", {})) and set(held_out) <= set(fitted_to):
            return model
    path.parent.mkdir(parents=True, exist_ok=True)
    state = load_checkpoint(checkpoint)
    fitted = cross_fit(state, [*held_out.values()], data_root) if held_out else None
    model, _, _ = export_checkpoint(state, data_root, path, cross_fit=fitted)
    return model


def recipe_of(manifest: Manifest) -> Recipe | None:
    """Return the recipe that made a model, None where its file does not hold one."""
    values = manifest.training.get("recipe")
    return parse_recipe(values, source="the model's recipe") if values else None


def dataset_of(manifest: Manifest) -> DatasetSection:
    """Return what a model was trained and is evaluated on."""
    recipe = recipe_of(manifest)
    return recipe.dataset if recipe is not None else DatasetSection(name=manifest.dataset)


def model_figures(name: str, model: ModelFile, data_root: Path, folder: Path, *, again: bool = False) -> dict[str, Any]:
    """Evaluate a model on its validation split through its runtime, and count its network.

    Returns the figures of `lwseg evaluate`, and `parameters` and `multiply_adds` at the model's input size, which are None
    where the file does not say how the network was built; `date` is when they were measured. They are kept in ``folder``
    under the name and the file's hash, and read again where the runtime is the same, unless ``again``.
    """
    _, split = load_splits(dataset_of(model.manifest), data_root)
    split.check_classes(model.manifest.classes)
    kept = folder / f"{name}-{model.sha256[:12]}.json"
    with Segmenter.open(model.path, precision=model.manifest.precision) as segmenter:
        backend = segmenter.backend
        measured_on = {
            "sha256": model.sha256,
            "dataset": split.dataset,
            "split": split.split,
            "images": len(split.pairs),
            "backend": backend.name,
            "library_version": backend.library_version,
            "precision": backend.precision,
        }
        before = read_json(kept)
        if not again and all(before.get(key) == value for key, value in measured_on.items()):
            return before
        figures = {"date": today(), **measured_on, "parameters": None, "multiply_adds": None}
        figures.update(evaluate_split(segmenter, split))
    recipe = recipe_of(model.manifest)
    if recipe is not None:
        network = build_network(recipe.network.name, model.manifest.num_classes, **recipe.network.options)
        figures.update(vars(count_network(as_inferred(network, recipe.inference), model.manifest.input_size_hw)))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(kept, figures)
    return figures


def latencies(
    models: Mapping[str, ModelFile], seconds: float, kept: Path, *, again: bool = False
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Time models one image a call, on the CPU and, where a CUDA device and TensorRT are there, on the GPU.

    All models take turns, so that what else the machine does falls on all alike; so either the figures of all are read
    from ``kept``, or all are measured. They are read if this machine measured all of them, in the same way, before.

    Args:
        models: by name.
        seconds: of calls for each model and device.
        kept: the JSON file that keeps the figures.
        again: measure even so.

    Returns:
        The figures, `models` among them: by file hash the figures of `cpu` and of `gpu` (None where there is none).
        The names of models that could not be timed, and why.
    """
    gpu = load_runtime(GPU_RUNTIME).probe(BackendOptions())
    conditions = {
        "measured": MEASURED,
        "batch": 1,
        "seconds": seconds,
        "machine": machine(),
        "libraries": {name: version for name, version in library_versions().items() if name in CPU_RUNTIMES},
        "gpu": gpu.detail if gpu.available else None,
    }
    before = read_json(kept)
    same = all(before.get(key) == value for key, value in conditions.items())
    if same and not again and all(model.sha256 in before.get("models", {}) for model in models.values()):
        return before, []
    openers = {"cpu": _open_on_cpu, **({"gpu": _open_on_gpu} if gpu.available else {})}
    measured: dict[str, dict[str, Any]] = {model.sha256: {"cpu": None, "gpu": None} for model in models.values()}
    faults: list[tuple[str, str]] = []
    calls: dict[str, Callable[[], object]] = {}
    opened: dict[tuple[str, str], Backend] = {}  # by model and device
    with ExitStack() as stack:
        for name, model in models.items():
            images = random_images(model, 1)
            for kind, open_model in openers.items():
                try:
                    backend = open_model(model)
                    stack.callback(backend.close)
                    backend.infer(images)  # one that fails must not end the others' turns
                except Exception as error:  # they raise what they like, and the hours before this are not to be lost
                    faults.append((name, f"{kind} latency: {' '.join(str(error).split())}"))
                else:
                    opened[name, kind] = backend
                    calls[f"{name} {kind}"] = partial(backend.infer, images)
        turns = take_turns(calls, seconds / ROUNDS)
        for (name, kind), backend in opened.items():
            figures = summary(backend, turns[f"{name} {kind}"], 1)
            measured[models[name].sha256][kind] = {"runtime": backend.name, **figures}
    result = {"date": today(), **conditions, "models": measured}
    write_json(kept, result)
    return result, faults


def _open_on_gpu(model: ModelFile) -> Backend:
    return load_runtime(GPU_RUNTIME).open(model, BackendOptions())


def _open_on_cpu(model: ModelFile) -> Backend:
    """Open a model in the first of the CPU's runtimes that can, as `auto` does on a machine without a GPU."""
    reasons = []
    for name in CPU_RUNTIMES:
        try:
            return load_runtime(name).open(model, BackendOptions())
        except BackendError as error:
            reasons.append(f"{name}: {error}")
    raise BackendError("no runtime on the CPU opens it: " + "; ".join(reasons))


def today() -> str:
    """Return the date in UTC as YYYY-MM-DD."""
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file; empty where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
