"""How many threads to give OpenVINO beside a camera driver that keeps a core busy: `python -m benchmarks.threads`.

`num_threads` 0 (OpenVINO chooses), 1, ... up to the number of cores take turns on the idle machine, then beside a process that
computes without a pause. Told are the engine's p50 and p99, and each as a multiple of what 0 gives in the same turns. Only an
idle machine gives figures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from benchmarks.program import argument_parser, markdown_table, round_ratio, run
from lwseg_ros.backends import BackendOptions, open_best
from lwseg_ros.evaluation.latency import random_images, take_turns
from lwseg_ros.evaluation.machine import cores, machine
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.model.precisions import find_model

ROUNDS = 10
# Ends with the benchmark, however that ends.
BUSY = "import os\nwhile os.getppid() == {parent}:\n    for _ in range(10**5): pass"


def measure(model: str = DEFAULT_MODEL, seconds: float = 20.0) -> dict[str, Any]:
    """Time every number of threads for about ``seconds``, idle and beside a busy core; raises LwsegError."""
    found = find_model(model)
    with ExitStack() as stack:
        calls = {}
        for num_threads in (0, *range(1, cores() + 1)):
            file, choice = open_best(found, "openvino", BackendOptions(num_threads=num_threads))
            stack.callback(choice.backend.close)
            calls[str(num_threads)] = partial(choice.backend.infer, random_images(file, 1))
        precision = choice.backend.precision
        rounds = {"idle": take_turns(calls, seconds / ROUNDS, ROUNDS)}
        with busy_core():
            rounds["one core busy"] = take_turns(calls, seconds / ROUNDS, ROUNDS)
    return {
        "benchmark": "threads",
        "model": file.path.name,
        "precision": precision,
        "rows": [
            row(load, name, turns, measured["0"])
            for load, measured in rounds.items()
            for name, turns in measured.items()
        ],
        "comparisons": [],
        "machine": machine(),
    }


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with another process."""
    process = subprocess.Popen([sys.executable, "-c", BUSY.format(parent=os.getpid())])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def row(load: str, name: str, turns: Sequence[Sequence[float]], chosen: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Sum up the seconds of a number of threads, beside those of OpenVINO's own choice."""
    p50_ms, p99_ms = np.percentile([1e3 * call_s for call_s in chain.from_iterable(turns)], (50, 99))
    chosen_p99_ms = np.percentile([1e3 * call_s for call_s in chain.from_iterable(chosen)], 99)
    return {
        "load": load,
        "num_threads": int(name),
        "p50_ms": round(p50_ms, 3),
        "p99_ms": round(p99_ms, 3),
        "p50_to_0": round(round_ratio(turns, chosen), 3),
        "p99_to_0": round(p99_ms / chosen_p99_ms, 3),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into a Markdown table."""
    rows = [
        [
            f"{row['load']}: {row['num_threads']}",
            *(f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms", "p50_to_0", "p99_to_0")),
        ]
        for row in figures["rows"]
    ]
    columns = ("num_threads", "p50 ms", "p99 ms", "p50 to that of 0", "p99 to that of 0")
    return f"{figures['model']} in {figures['precision']}\n\n{markdown_table(columns, rows)}"


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `threads.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    args = parser.parse_args(argv)
    return run("threads", args, lambda: measure(args.model), table)


if __name__ == "__main__":
    sys.exit(main())
