"""Whether training waits for its samples: `python -m benchmarks.training_loader`.

A recipe is trained for a few steps by the real trainer, once at each size of its schedule, and the trainer's own log says
which share of the time it waited; then its loader runs with no training beside it. Without --data the images are noise of
CamVid's size: the trainer keeps them decoded, so what is on them costs nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lwseg_training.config.recipe import Recipe, load_recipe, resolve_recipe
from lwseg_training.data.samples import StepSampler, TrainingSamples, training_loader, worker_count
from lwseg_training.distributed import training_process
from lwseg_training.engine.fit import LOG_EVERY_STEPS, fit
from lwseg_training.engine.segmentation import SegmentationTask

from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine

RECIPE = "dwrseg_b_camvid"
STEPS = 2 * LOG_EVERY_STEPS  # the first half starts the workers and is not counted
LOADER_BATCHES = 40
MAX_WAIT_SHARE = 0.05
CAMVID_SIZE_HW = (360, 480)


def measure(recipe: str = RECIPE, data: Path | None = None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train at each size of the schedule and return the figures; raises LwsegError. overrides: ``key=value`` of the recipe."""
    length = [f"schedule={{steps: {STEPS}}}", "evaluate_every_epochs=1000"]
    whole = load_recipe(resolve_recipe(recipe), [*overrides, *length])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = data or write_noise(folder / "data")
        stages = {
            title: measure_stage(stage, root, folder / f"run{number}")
            for number, (title, stage) in enumerate(stages_of(whole).items())
        }
    share, wanted = max(stage["wait_share"] for stage in stages.values()), f"under {MAX_WAIT_SHARE}"
    return {
        "benchmark": "training_loader",
        "recipe": " ".join([recipe, *overrides]),
        "data": "noise of 480 x 360 pixels" if data is None else data.name,
        "workers": worker_count(whole),
        "batch_size": whole.batch_size,
        "stages": stages,
        "comparisons": [
            comparison("share of a step waiting for samples", share, wanted, share < MAX_WAIT_SHARE, digits=4)
        ],
        "machine": machine(),
    }


def stages_of(recipe: Recipe) -> dict[str, Recipe]:
    """Split a recipe into one that trains at a single size for each part of its schedule."""
    stages = {}
    if recipe.early is not None:
        stages["early"] = recipe.model_copy(update={"early": None, "augmentation": recipe.early_augmentation})
    stages["full size"] = recipe.model_copy(update={"early": None})
    return stages


def measure_stage(recipe: Recipe, root: Path, out: Path) -> dict[str, Any]:
    """Train STEPS steps, then run the loader alone."""
    with training_process() as process:
        task = SegmentationTask(recipe, root, process)
        fit(task, out)
        device = str(process.device)
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steady = [entry for entry in entries if "loader_wait_share" in entry][-1]
    samples = TrainingSamples(task.train_images, recipe, LOADER_BATCHES)
    workers = worker_count(recipe)
    batches = iter(training_loader(samples, StepSampler(recipe.batch_size, 0, LOADER_BATCHES), workers, pin=False))
    # The workers have as much ready as they may hold once the first quarter is through.
    for _ in range(LOADER_BATCHES // 4):
        next(batches)
    started = time.perf_counter()
    counted = sum(len(image) for image, _ in batches)
    samples_per_s = counted / (time.perf_counter() - started)
    return {
        "crop_hw": list(recipe.augmentation.crop_hw),
        "device": device,
        "wait_share": steady["loader_wait_share"],
        "trained_images_per_s": round(steady["images_per_s"], 2),
        "loader_samples_per_s": round(samples_per_s, 1),
    }


def write_noise(root: Path, train: int = 40, validation: int = 2) -> Path:
    """Write a data set of noise in CamVid's layout and return its folder."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", validation)):
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for index in range(count):
            image = random.integers(0, 256, (*CAMVID_SIZE_HW, 3), dtype=np.uint8)
            label = np.kron(random.integers(0, 12, (9, 12)), np.ones((40, 40))).astype(np.uint8)
            name = f"noise_{index:06d}.png"
            if not (
                cv2.imwrite(str(root / split / name), image) and cv2.imwrite(str(root / f"{split}annot" / name), label)
            ):
                raise LwsegError(f"cannot write {root / split / name}; is the disk full?")
    return root


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    lines = [
        f"training loader: recipe {figures['recipe']}, {figures['data']}, batch {figures['batch_size']}, "
        f"{figures['workers']} worker(s)"
    ]
    for name, stage in figures["stages"].items():
        height, width = stage["crop_hw"]
        lines.append(
            f"  {name:<10} {width} x {height}: waits {stage['wait_share']:6.1%} of the time, trains "
            f"{stage['trained_images_per_s']:6.1f} images/s on {stage['device']}; loader alone "
            f"{stage['loader_samples_per_s']:7.1f} samples/s"
        )
    lines.extend(f"  {row['name']}: {row['value']:.4f} ({row['wanted']} wanted)" for row in figures["comparisons"])
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `training_loader.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--recipe", default=RECIPE, help="default: %(default)s")
    parser.add_argument("--data", type=Path, help="folder of the recipe's data set (default: noise)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change single values of the recipe")
    args = parser.parse_args(argv)
    return run("training_loader", args, lambda: measure(args.recipe, args.data, args.overrides), table)


if __name__ == "__main__":
    sys.exit(main())
