"""A model's precisions in each runtime, one image at a time, as multiples of its fp32 file in the default runtime.

Contenders are the model file and the conversions beside it (`lwseg quantize`), each in every runtime of this machine, and in
OpenVINO the arithmetics that an fp32 file can have. They take turns, and what is told is the median over the rounds of the ratio of
two in the same round, so that what else the machine does falls on all alike. Only an idle machine gives figures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from benchmarks.inference import ROUNDS
from benchmarks.program import argument_parser, comparison, round_ratio, run
from lwseg_ros.backends import BACKENDS, CPU_PRECISIONS, Backend, BackendOptions, load_runtime
from lwseg_ros.errors import BackendError
from lwseg_ros.evaluation.latency import random_images, take_turns
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.model.model_file import DEFAULT_MODEL, ModelFile
from lwseg_ros.model.precisions import find_model

BASELINE = "openvino, fp32 file"
INT8 = "openvino, int8 file"
MIN_INT8_GAIN = 1.5


def measure(model: str = DEFAULT_MODEL, seconds: float = 4.0, num_threads: int = 0) -> dict[str, Any]:
    """Time every contender for about ``seconds`` and return the figures; raises LwsegError."""
    found = find_model(model)
    files = [found.model, *found.others.values()]
    images = random_images(found.model, 1)
    with ExitStack() as stack:
        backends = contenders(files, num_threads, stack)
        calls: dict[str, Callable[[], object]] = {
            name: partial(entry.infer, images) for name, entry in backends.items()
        }
        rounds = take_turns(calls, seconds / ROUNDS, ROUNDS)
        precisions = {name: backend.precision for name, backend in backends.items()}
    rows = {
        name: {
            "precision": precisions[name],
            "p50_ms": round(1e3 * median(call_s for turn in turns for call_s in turn), 3),
            "times_as_fast": round(round_ratio(rounds[BASELINE], turns), 3),
        }
        for name, turns in rounds.items()
    }
    comparisons = []
    if INT8 in rows:
        gain = float(rows[INT8]["times_as_fast"])
        wanted = f"at least {MIN_INT8_GAIN}"
        comparisons.append(comparison(f"{INT8} times as fast as {BASELINE}", gain, wanted, gain >= MIN_INT8_GAIN))
    return {
        "benchmark": "precisions",
        "model": found.model.path.name,
        "files": {file.manifest.precision: {"sha256": file.sha256, "bytes": len(file.data)} for file in files},
        "refused": list(found.refused),
        "baseline": BASELINE,
        "contenders": rows,
        "comparisons": comparisons,
        "threads": num_threads or "chosen by the runtime",
        "machine": machine(),
    }


def contenders(files: list[ModelFile], num_threads: int, stack: ExitStack) -> dict[str, Backend]:
    """Open every file in every runtime that can, by name; raises BackendError where the baseline cannot be opened."""
    opened: dict[str, Backend] = {}
    for runtime in BACKENDS:
        for file in files:
            arithmetics = CPU_PRECISIONS if runtime == "openvino" and file.manifest.precision == "fp32" else ("auto",)
            for arithmetic in arithmetics:
                name = f"{runtime}, {file.manifest.precision} file" + (
                    "" if arithmetic == "auto" else f" in {arithmetic}"
                )
                options = BackendOptions(num_threads=num_threads, cpu_precision=arithmetic)
                try:
                    backend = load_runtime(runtime).open(file, options)
                except BackendError as error:
                    if name == BASELINE:
                        raise
                    print(f"not measured: {name}: {error}", file=sys.stderr)
                    continue
                stack.callback(backend.close)
                opened[name] = backend
    return opened


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    host = figures["machine"]
    lines = [
        f"{figures['model']}, one image at a time; {host['processor']}, {host['cores']} cores, threads: {figures['threads']}",
        *(f"  {name}: {entry['bytes'] / 1e6:.2f} MB" for name, entry in figures["files"].items()),
        *(f"  refused: {reason}" for reason in figures["refused"]),
    ]
    for name, row in figures["contenders"].items():
        lines.append(
            f"  {name:<32} p50 {row['p50_ms']:8.2f} ms   {row['times_as_fast']:6.2f} times as fast   {row['precision']}"
        )
    lines += [
        f"  {row['name']}: {row['value']}, wanted {row['wanted']}: {'met' if row['met'] else 'missed'}"
        for row in figures["comparisons"]
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write `precisions.json`."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="model file or shipped model (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="a contender (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=0, help="on the CPU; 0 lets the runtime choose (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    return run("precisions", args, lambda: measure(args.model, args.seconds, args.threads), table)


if __name__ == "__main__":
    sys.exit(main())
