"""Several cameras on this CPU, all images at once: `python -m benchmarks.cameras`.

Three ways, on all cores: one batch, as the node does it; one image after the other; streams, one for each camera up to one for
each core, beside each other. They take turns. Told is how long it takes until the last camera has its label, and in the mean of
the cameras, since streams and single images have the first ones sooner. Only an idle machine gives figures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import mean, median
from typing import Any

import numpy as np

from benchmarks.openvino_graphs import Infer, streams
from benchmarks.program import argument_parser, markdown_table, round_ratio, run
from lwseg_ros.backends import Backend, BackendOptions, open_best
from lwseg_ros.evaluation.latency import random_images, take_turns
from lwseg_ros.evaluation.machine import cores, machine
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.model.precisions import find_model

CAMERAS = (1, 2, 4, 6)
ROUNDS = 8
BATCH, SINGLE, STREAMS = "batch", "one after the other", "streams"


def measure(model: str = DEFAULT_MODEL, cameras: Sequence[int] = CAMERAS, seconds: float = 8.0) -> dict[str, Any]:
    """Time every way for about ``seconds`` for each number of cameras, and return the figures; raises LwsegError."""
    rows = [row for count in cameras for row in rows_of(model, count, seconds)]
    return {
        "benchmark": "cameras",
        "model": model,
        "rows": rows,
        "comparisons": [],
        "machine": machine(),
    }


def rows_of(model: str, count: int, seconds: float) -> list[dict[str, Any]]:
    """Measure all ways for a number of cameras."""
    file, choice = open_best(find_model(model), "openvino", BackendOptions(max_batch=count))
    num_streams = min(count, cores())
    images = random_images(file, count)
    finished_s: dict[str, list[list[float]]] = {BATCH: [], SINGLE: [], STREAMS: []}  # of each camera, by call
    with closing(choice.backend) as backend, ThreadPoolExecutor(num_streams) as pool:
        infers = streams(file, backend.precision, num_streams, cores())
        ways: dict[str, Callable[[], list[float]]] = {
            BATCH: lambda: in_a_batch(backend, images),
            SINGLE: lambda: in_streams([backend.infer], images, pool),
            STREAMS: lambda: in_streams(infers, images, pool),
        }

        def kept(name: str) -> Callable[[], None]:
            return lambda: finished_s[name].append(ways[name]())

        rounds = take_turns({name: kept(name) for name in ways}, seconds / ROUNDS, ROUNDS)
        return [
            {
                "cameras": count,
                "way": name,
                "streams": num_streams if name == STREAMS else 1,
                "precision": backend.precision,
                "last_label_ms": round(1e3 * median(s for turn in turns for s in turn), 3),
                "mean_label_ms": round(1e3 * median(map(mean, finished_s[name])), 3),
                "times_the_batch": round(round_ratio(turns, rounds[BATCH]), 3),
            }
            for name, turns in rounds.items()
        ]


def in_a_batch(backend: Backend, images: np.ndarray) -> list[float]:
    """Segment all images at once; return for each the seconds until its label."""
    started = time.perf_counter()
    backend.infer(images)
    return [time.perf_counter() - started] * len(images)


def in_streams(infers: Sequence[Infer], images: np.ndarray, pool: ThreadPoolExecutor) -> list[float]:
    """Deal the images out to calls that run beside each other; return for each the seconds until its label."""
    started = time.perf_counter()

    def work(number: int) -> list[float]:
        taken = []
        for index in range(number, len(images), len(infers)):
            infers[number](images[index : index + 1])
            taken.append(time.perf_counter() - started)
        return taken

    return [taken for stream in pool.map(work, range(len(infers))) for taken in stream]


def table(figures: dict[str, Any]) -> str:
    """Put the figures into a Markdown table."""
    rows = [
        [
            f"{row['cameras']}: {row['way']}" + (f" ({row['streams']})" if row["way"] == STREAMS else ""),
            f"{row['last_label_ms']:.1f}",
            f"{row['mean_label_ms']:.1f}",
            f"{row['times_the_batch']:.2f}",
            f"{1e3 * row['cameras'] / row['last_label_ms']:.1f}",
        ]
        for row in figures["rows"]
    ]
    columns = ("cameras", "last label, ms", "mean label, ms", "time to the batch's", "images a second")
    return f"{figures['model']} in {figures['rows'][0]['precision']}\n\n{markdown_table(columns, rows)}"


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `cameras.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--cameras", type=int, nargs="+", default=CAMERAS, metavar="N", help="default: %(default)s")
    args = parser.parse_args(argv)
    if min(args.cameras) < 1:
        parser.error(f"--cameras {min(args.cameras)}: expected at least 1")
    return run("cameras", args, lambda: measure(args.model, args.cameras), table)


if __name__ == "__main__":
    sys.exit(main())
