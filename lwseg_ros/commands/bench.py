"""`lwseg bench`: latency and throughput of a model in each runtime, with what was measured."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from lwseg_ros.backends import BACKENDS, CPU_PRECISIONS, BackendOptions
from lwseg_ros.commands.arguments import MODEL_HELP, natural_int, positive_int
from lwseg_ros.evaluation.latency import measure
from lwseg_ros.host.terminal import say
from lwseg_ros.model.precisions import find_model

HELP = "Measure latency and throughput of a model in each runtime of this machine."
EXAMPLE = "lwseg bench lite_seg0_camvid --seconds 5 --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("--backend", default="all", choices=["all", *BACKENDS], help="default: %(default)s")
    parser.add_argument("--baseline", default="onnxruntime", choices=list(BACKENDS), help="default: %(default)s")
    parser.add_argument(
        "--batch", type=positive_int, default=1, metavar="N", help="images a call (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="a runtime (default: %(default)s)")
    parser.add_argument(
        "--threads", type=natural_int, default=0, metavar="N", help="on the CPU; 0: the runtime decides"
    )
    parser.add_argument("--cpu-precision", default="auto", choices=CPU_PRECISIONS, help="of OpenVINO on the CPU")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print; fails when no runtime could be measured."""
    if not (math.isfinite(args.seconds) and args.seconds > 0):
        say(f"lwseg bench: --seconds is {args.seconds}, expected more than 0", file=sys.stderr)
        return 2
    model = find_model(args.model)
    options = BackendOptions(max_batch=args.batch, num_threads=args.threads, cpu_precision=args.cpu_precision)
    figures = measure(model, options, args.backend, args.baseline, args.seconds)
    say(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    model, host = figures["model"], figures["machine"]
    height, width = model["input_size_hw"]
    lines = [
        f"{model['file']}: {model['network']}, {model['precision']}, {height} x {width}, batch {figures['batch']}",
        f"{host['processor']}, {host['cores']} cores, threads: {figures['threads']}; {figures['seconds']:g} s each",
        f"{figures['measured']}",
        "",
        f"{'runtime':<12} {'version':<18} {'precision':<10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'images/s':>9}"
        f" {'times ' + figures['baseline']:>18}",
    ]
    for name, result in figures["backends"].items():
        if "unavailable" in result:
            lines.append(f"{name:<12} not measured: {result['unavailable']}")
            continue
        latency, ratio = result["latency_ms"], result["times_as_fast_as_baseline"]
        lines.append(
            f"{name:<12} {result['library_version']:<18} {result['precision']:<10} {latency['p50']:8.2f} "
            f"{latency['p95']:8.2f} {latency['p99']:8.2f} {result['images_per_s']:9.1f} "
            f"{'-' if ratio is None else f'{ratio:.2f}':>18}"
        )
    return "\n".join(lines)
