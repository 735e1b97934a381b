"""How fast a model runs, against named baselines: `python -m benchmarks.inference`.

Every contender gets the same random image at the model's size, batch 1, and the default settings of its library. They take
turns in short rounds, so that what else the machine does falls on all alike; a ratio is the median over the rounds of the
medians' ratio. PyTorch runs the model's network and recipe with weights drawn at random: time does not depend on them.

What pre- and post-processing inside the graph cost is measured in one precision: whole graph and bare network both in the
lowest that OpenVINO has here. The physical limit is the network's multiply-adds at the highest rate that a large matrix
product or convolution reaches here in that precision.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lwseg_training.config.recipe import parse_recipe
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks import build_network
from lwseg_training.networks.count import count_network
from lwseg_training.networks.normalization import Normalize

from benchmarks.program import argument_parser, comparison, round_ratio, run
from lwseg_ros.backends import BackendOptions, load_runtime
from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.evaluation.latency import random_images, take_turns
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.model.model_file import DEFAULT_MODEL, ModelFile, load_model, resolve_model

ROUNDS = 12
Call = Callable[[], object]

# How many times as fast as a baseline the default is wanted to be, and how much dearer than its network alone a graph may be.
BASELINES = {"onnxruntime": 1.6, "pytorch eager": 2.0}
MAX_WHOLE_TO_BARE = 1.2
DEFAULT = "openvino"


def measure(model: str = DEFAULT_MODEL, seconds: float = 4.0) -> dict[str, Any]:
    """Time every contender for about ``seconds`` and return the figures; raises LwsegError."""
    model_file = load_model(resolve_model(model))
    size_hw = model_file.manifest.input_size_hw
    network = network_of(model_file)
    multiply_adds = count_network(network, size_hw).multiply_adds
    lowest = "bf16" if openvino_has_bf16() else "fp32"
    whole, bare = f"openvino, {lowest}", f"openvino, {lowest}, bare network"
    calls, precisions = contenders(model_file, network, lowest)
    rounds = take_turns(calls, seconds / ROUNDS, ROUNDS)
    peak = peak_multiply_adds_per_s(torch.bfloat16 if lowest == "bf16" else torch.float32)
    p50_ms = {name: 1e3 * median([call_s for turn in turns for call_s in turn]) for name, turns in rounds.items()}
    limit_ms = 1e3 * multiply_adds / peak
    comparisons = []
    for baseline, least in BASELINES.items():
        ratio = round_ratio(rounds[baseline], rounds[DEFAULT])
        comparisons.append(
            comparison(f"{DEFAULT} times as fast as {baseline}", ratio, f"at least {least}", ratio >= least)
        )
    ratio = round_ratio(rounds[whole], rounds[bare])
    wanted = f"at most {MAX_WHOLE_TO_BARE}"
    comparisons.append(comparison(f"whole graph to bare network, {lowest}", ratio, wanted, ratio <= MAX_WHOLE_TO_BARE))
    return {
        "benchmark": "inference",
        "model": model_file.path.name,
        "sha256": model_file.sha256,
        "network": model_file.manifest.network,
        "size_hw": list(size_hw),
        "contenders": {
            name: {
                "p50_ms": round(value, 3),
                "precision": precisions[name],
                "calls": sum(map(len, rounds[name])),
                "images_per_s": round(1e3 / value, 2),
            }
            for name, value in p50_ms.items()
        },
        "comparisons": comparisons,
        "limit": {
            "multiply_adds": multiply_adds,
            "peak_multiply_adds_per_s": round(peak),
            "precision": lowest,
            "limit_ms": round(limit_ms, 3),
            "times_the_limit": {
                name: round(p50_ms[name] / limit_ms, 3) for name in dict.fromkeys((DEFAULT, whole, bare))
            },
        },
        "torch_threads": torch.get_num_threads(),
        "machine": machine(),
    }


def network_of(model: ModelFile) -> torch.nn.Module:
    """Rebuild a model file's network as PyTorch module, weights drawn at random; raises LwsegError where it says not how."""
    manifest = model.manifest
    options = {}
    if isinstance(manifest.training.get("recipe"), dict):
        options = parse_recipe(manifest.training["recipe"], source=str(model.path)).network.options
    torch.manual_seed(0)
    return build_network(manifest.network, manifest.num_classes, **options).eval()


def openvino_has_bf16() -> bool:
    """Whether this processor computes in bf16."""

    return "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def contenders(model: ModelFile, network: torch.nn.Module, lowest: str) -> tuple[dict[str, Call], dict[str, str]]:
    """Return by name a call that segments one image, and the precision it computes in."""
    image = random_images(model, 1)
    calls: dict[str, Call] = {}
    precisions: dict[str, str] = {}
    runtimes = {DEFAULT: ("openvino", "auto"), "onnxruntime": ("onnxruntime", "auto")}
    for precision in dict.fromkeys(("fp32", lowest)):
        runtimes[f"openvino, {precision}"] = ("openvino", precision)
        name = f"openvino, {precision}, bare network"
        calls[name], precisions[name] = bare_network(network, model.manifest.input_size_hw, precision), precision
    for name, (runtime, cpu_precision) in runtimes.items():
        backend = load_runtime(runtime).open(model, BackendOptions(cpu_precision=cpu_precision))
        calls[name] = partial(backend.infer, image)
        precisions[name] = backend.precision

    graph = InferenceGraph(network, Normalize(), model.manifest.temperature, model.manifest.uncertainty_kind).eval()
    tensor = torch.from_numpy(image)

    @torch.inference_mode()
    def eager() -> object:
        return graph(tensor)

    calls["pytorch eager"] = eager
    precisions["pytorch eager"] = "fp32"
    return calls, precisions


def bare_network(network: torch.nn.Module, size_hw: tuple[int, int], precision: str) -> Call:
    """Return a call of the network alone in OpenVINO: float32 [1, 3, H, W] to logits [1, C, H, W], which stay where they are."""

    example = torch.randn(1, 3, *size_hw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bare.onnx"
        torch.onnx.export(network, (example,), path, dynamo=True, external_data=False, verbose=False)
        core = shared_core()
        # Otherwise the settings are those of lwseg_ros.backends.openvino.
        hint = {"fp32": "f32", "bf16": "bf16"}[precision]
        settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": hint}
        compiled = core.compile_model(core.read_model(path), "CPU", settings)
    request = compiled.create_infer_request()
    inputs = {0: example.numpy()}
    return lambda: request.infer(inputs, share_inputs=True, share_outputs=True)


@torch.inference_mode()
def peak_multiply_adds_per_s(dtype: torch.dtype, seconds: float = 2.0) -> float:
    """Return the best rate of multiply-adds that a large matrix product or a large 3x3 convolution reaches in PyTorch."""
    size, channels, side = 2048, 256, 64
    first, second = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    features = torch.randn(4, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3).to(dtype)
    trials: tuple[tuple[Call, int], ...] = (
        (lambda: first @ second, size**3),
        (lambda: torch.nn.functional.conv2d(features, weight, padding=1), 4 * side**2 * channels**2 * 9),
    )
    best = 0.0
    for trial, multiply_adds in trials:
        trial()
        end = time.perf_counter() + seconds / len(trials)
        while time.perf_counter() < end:
            started = time.perf_counter()
            trial()
            best = max(best, multiply_adds / (time.perf_counter() - started))
    return best


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    height, width = figures["size_hw"]
    limit = figures["limit"]
    lines = [f"inference, batch 1, {width} x {height}: {figures['model']} ({figures['network']})"]
    for name, row in sorted(figures["contenders"].items(), key=lambda item: item[1]["p50_ms"]):
        lines.append(
            f"  {name:<38} p50 {row['p50_ms']:8.2f} ms   {row['images_per_s']:7.1f} images/s   {row['precision']}"
        )
    for row in figures["comparisons"]:
        lines.append(f"  {row['name']:<38} {row['value']:12.2f}   ({row['wanted']} wanted)")
    lines.append(
        f"  {'physical limit, ' + limit['precision']:<38} {limit['limit_ms']:12.2f} ms: {limit['multiply_adds'] / 1e9:.2f} G "
        f"multiply-adds at {limit['peak_multiply_adds_per_s'] / 1e9:.0f} G/s"
    )
    lines.extend(f"    {name:<36} {times:12.2f} times that" for name, times in limit["times_the_limit"].items())
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `inference.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=4.0, help="a contender (default: %(default)s)")
    args = parser.parse_args(argv)
    if not args.seconds > 0:
        parser.error(f"--seconds is {args.seconds}, expected more than 0")
    return run("inference", args, lambda: measure(args.model, args.seconds), table)


if __name__ == "__main__":
    sys.exit(main())
