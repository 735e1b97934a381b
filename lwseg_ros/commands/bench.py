"""`lwseg bench`: latency and throughput of a model in each runtime, with what was measured."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from tqdm import tqdm

from lwseg_ros import __version__
from lwseg_ros.backends import BACKENDS, CPU_PRECISIONS, Backend, BackendOptions, load_runtime
from lwseg_ros.commands.arguments import natural_int, positive_int
from lwseg_ros.errors import BackendError
from lwseg_ros.evaluation.machine import cores, processor
from lwseg_ros.model_file import ModelFile, load_model, resolve_model

HELP = "Measure latency and throughput of a model in each runtime of this machine."
EXAMPLE = "lwseg bench dwrseg_b_camvid --seconds 5 --json"

MEASURED = "Backend.infer on random images: uint8 camera pixels in, label and uncertainty out; no resizing"
ROUNDS = 5
WARM_UP_CALLS = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("model", help="model file or shipped model")
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
        print(f"lwseg bench: --seconds is {args.seconds}, expected more than 0", file=sys.stderr)
        return 2
    model = load_model(resolve_model(args.model))
    options = BackendOptions(max_batch=args.batch, num_threads=args.threads, cpu_precision=args.cpu_precision)
    figures = measure(model, options, args.backend, args.baseline, args.seconds)
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def measure(model: ModelFile, options: BackendOptions, backend: str, baseline: str, seconds: float) -> dict[str, Any]:
    """Time `Backend.infer` on random images; returns the figures and all that they depend on.

    The runtimes take turns in ROUNDS rounds, so that what else the machine does falls on all alike. backend: a name, or
    "all" for each that opens. Raises BackendError when the named one does not open, or none.
    """
    images = random_images(model, options.max_batch)
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        opened: dict[str, Backend] = {}
        for name in BACKENDS if backend == "all" else [backend]:
            try:
                opened[name] = load_runtime(name).open(model, options)
            except BackendError as error:
                if backend != "all":
                    raise
                results[name] = {"unavailable": str(error)}
                continue
            stack.callback(opened[name].close)
        if not opened:
            raise BackendError("no runtime could be measured: " + "; ".join(r["unavailable"] for r in results.values()))
        latencies = take_turns({name: (runtime, images) for name, runtime in opened.items()}, seconds)
    for name, runtime in opened.items():
        results[name] = {
            "library_version": runtime.library_version,
            "device": runtime.device,
            "precision": runtime.precision,
            **summary(latencies[name], options.max_batch),
        }
    reference = results.get(baseline, {}).get("latency_ms")
    for name in opened:
        latency = results[name]["latency_ms"]
        results[name]["times_as_fast_as_baseline"] = reference and round(reference["p50"] / latency["p50"], 3)
    return {
        "measured": MEASURED,
        "model": {
            "file": model.path.name,
            "sha256": model.sha256,
            "network": model.manifest.network,
            "precision": model.manifest.precision,
            "input_size_hw": list(model.manifest.input_size_hw),
        },
        "machine": machine(),
        "batch": options.max_batch,
        "threads": options.num_threads or "chosen by the runtime",
        "seconds": seconds,
        "baseline": baseline,
        "backends": results,
    }


def random_images(model: ModelFile, batch: int) -> np.ndarray:
    """Return images of a model's input size, uint8 [batch, H, W, 3], always the same."""
    return np.random.default_rng(0).integers(0, 256, (batch, *model.manifest.input_size_hw, 3), dtype=np.uint8)


def take_turns(opened: Mapping[str, tuple[Backend, np.ndarray]], seconds: float) -> dict[str, list[float]]:
    """Time `Backend.infer` of several backends, each on its own images, in ROUNDS rounds of turns.

    Returns the seconds of each call, by name; all calls of one backend take about ``seconds``.
    """
    latencies: dict[str, list[float]] = {name: [] for name in opened}
    with tqdm(total=ROUNDS * len(opened), desc="measuring", unit="turn", file=sys.stderr, leave=False) as bar:
        for _ in range(ROUNDS):
            for name, (backend, images) in opened.items():
                bar.set_postfix_str(name)
                for _ in range(WARM_UP_CALLS):
                    backend.infer(images)
                end = time.perf_counter() + seconds / ROUNDS
                while not latencies[name] or time.perf_counter() < end:
                    started = time.perf_counter()
                    backend.infer(images)
                    latencies[name].append(time.perf_counter() - started)
                bar.update()
    return latencies


def summary(latencies_s: list[float], batch: int) -> dict[str, Any]:
    """Sum up the seconds of each call: latency in ms, and images per second."""
    milliseconds = np.array(latencies_s) * 1e3
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {
        "calls": len(latencies_s),
        "latency_ms": {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)},
        "images_per_s": round(batch * len(latencies_s) / sum(latencies_s), 2),
    }


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    return {
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "lwseg_ros": __version__,
    }


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
