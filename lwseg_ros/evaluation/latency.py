"""How long a model takes in a runtime, and on what that was measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from tqdm import tqdm

from lwseg_ros.backends import BACKENDS, Backend, BackendOptions, open_best
from lwseg_ros.errors import BackendError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.model.precisions import ModelPrecisions

MEASURED = "Backend.infer on random images: uint8 camera pixels in, label and uncertainty out; no resizing"
ROUNDS = 5
WARM_UP_CALLS = 3


def measure(
    model: ModelPrecisions, options: BackendOptions, backend: str, baseline: str, seconds: float
) -> dict[str, Any]:
    """Time `Backend.infer` on random images; returns the figures and all that they depend on. Each runtime opens the file whose
    precision it runs best.

    backend: a name, or "all" for each that opens. Raises BackendError when the named one does not open, or none.
    """
    asked = model.model
    images = random_images(asked, options.max_batch)
    results: dict[str, Any] = {}
    with ExitStack() as stack:
        opened: dict[str, Backend] = {}
        files: dict[str, str] = {}
        for name in BACKENDS if backend == "all" else [backend]:
            try:
                file, choice = open_best(model, name, options)
                opened[name], files[name] = choice.backend, file.path.name
            except BackendError as error:
                if backend != "all":
                    raise
                results[name] = {"unavailable": str(error)}
                continue
            stack.callback(opened[name].close)
        if not opened:
            raise BackendError("no runtime could be measured: " + "; ".join(r["unavailable"] for r in results.values()))
        calls = {name: partial(runtime.infer, images) for name, runtime in opened.items()}
        turns = take_turns(calls, seconds / ROUNDS)
    for name, runtime in opened.items():
        results[name] = {"file": files[name], **summary(runtime, turns[name], options.max_batch)}
    reference = results.get(baseline, {}).get("latency_ms")
    for name in opened:
        latency = results[name]["latency_ms"]
        results[name]["times_as_fast_as_baseline"] = reference and round(reference["p50"] / latency["p50"], 3)
    return {
        "measured": MEASURED,
        "model": {
            "file": asked.path.name,
            "sha256": asked.sha256,
            "network": asked.manifest.network,
            "precision": asked.manifest.precision,
            "input_size_hw": list(asked.manifest.input_size_hw),
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


def take_turns(
    calls: Mapping[str, Callable[[], object]], turn_s: float, rounds: int = ROUNDS
) -> dict[str, list[list[float]]]:
    """Time several calls in rounds of turns, so that what else the machine does falls on all alike.

    Returns the seconds of each call by name and turn; a turn takes about ``turn_s``, and holds one call at the least.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in calls}
    with tqdm(total=rounds * len(calls), desc="measuring", unit="turn", file=sys.stderr, leave=False) as bar:
        for _ in range(rounds):
            for name, call in calls.items():
                bar.set_postfix_str(name)
                for _ in range(WARM_UP_CALLS):
                    call()
                turn: list[float] = []
                end = time.perf_counter() + turn_s
                while not turn or time.perf_counter() < end:
                    started = time.perf_counter()
                    call()
                    turn.append(time.perf_counter() - started)
                taken[name].append(turn)
                bar.update()
    return taken


def summary(backend: Backend, turns: Sequence[Sequence[float]], batch: int) -> dict[str, Any]:
    """Sum up the seconds of a backend's calls: latency in ms, images per second, and what they were computed by."""
    latencies_s = list(chain.from_iterable(turns))
    latency_ms = percentiles([1e3 * latency_s for latency_s in latencies_s], (50, 95, 99))
    return {
        "library_version": backend.library_version,
        "device": backend.device,
        "precision": backend.precision,
        "calls": len(latencies_s),
        "latency_ms": {rank: value and round(value, 3) for rank, value in latency_ms.items()},
        "images_per_s": round(batch * len(latencies_s) / sum(latencies_s), 2),
    }
