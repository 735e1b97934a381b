"""`lwseg average`: one network of several checkpoints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lwseg_ros.errors import RecipeError
from lwseg_training.distributed import training_process
from lwseg_training.engine.averaging import average_checkpoints
from lwseg_training.engine.checkpoint import save_checkpoint

HELP = (
    "Average the weights of checkpoints of one recipe, of runs that differ in seed or of one run at different steps, and say "
    "whether the average is as good as they are. What is written is a checkpoint like any other, to export or to start from."
)
EXAMPLE = "lwseg average runs/a/last.pt runs/b/last.pt -o runs/soup.pt --data data/camvid"
OF_RUNS = ("last.pt", "best.pt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="last.pt of runs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set (default: data)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")


def run(args: argparse.Namespace) -> int:
    """Average, evaluate, write and print."""
    output: Path = args.output
    if output.name in OF_RUNS or not output.parent.is_dir() or output.is_dir():
        raise RecipeError(
            f"cannot write {output}: it has to be a file in a folder that exists, of another name than {' and '.join(OF_RUNS)}, "
            "which are a run's; choose another --output"
        )
    with training_process(args.device) as process:
        average = average_checkpoints(args.checkpoints, args.data, process)
    save_checkpoint(output, average.state)
    if args.json:
        report = {
            "checkpoint": str(output),
            "evaluated_on": average.evaluated_on,
            "miou": average.miou,
            "barrier": average.barrier,
            "in_one_basin": average.in_one_basin,
            "ingredients": [{**vars(made_of), "path": str(made_of.path)} for made_of in average.ingredients],
        }
        print(json.dumps(report, indent=2))
        return 0
    for made_of in average.ingredients:
        print(f"{made_of.path}: mIoU {made_of.miou:.4f} (seed {made_of.seed}, step {made_of.step})")
    verdict = (
        "they lie in one basin"
        if average.in_one_basin
        else "they do not lie in one basin, and their average is of no use: start them from the same weights, or average a run's "
        "last checkpoints"
    )
    print(
        f"average: mIoU {average.miou:.4f} on {average.evaluated_on}, {abs(average.barrier):.4f} "
        f"{'below' if average.barrier > 0 else 'above'} the mean of what it is made of: {verdict}\n{output}"
    )
    return 0
