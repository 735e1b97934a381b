"""How fast the networks run on an NVIDIA GPU, against named peers: `python -m benchmarks.gpu`. Unattended, on any such machine.

Every network, with weights drawn at random, as a model file of every precision, size and batch: TensorRT through our backend,
PyTorch eager and compiled with CUDA graphs, ONNX Runtime CUDA. Time does not depend on the weights; int8 does, as it needs a
calibration: give such a file by `--model`. What is missing on the machine is said in its place, and the rest is measured.
`gpu.json` is written after every row. The peak is the highest rate of a large matrix product here, in the row's precision.
"""

from __future__ import annotations

import copy
import datetime
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lwseg_training.export.export import to_onnx
from lwseg_training.export.inference_graph import InferenceGraph
from lwseg_training.networks import NETWORKS, build_network
from lwseg_training.networks.count import count_network
from lwseg_training.networks.normalization import Normalize

from benchmarks import gpu_contenders as contenders
from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.backends import cuda
from lwseg_ros.classes import number_classes
from lwseg_ros.errors import BackendError, BackendLostError, LwsegError
from lwseg_ros.evaluation.latency import random_images
from lwseg_ros.evaluation.machine import library_versions, machine
from lwseg_ros.host.files import write_json
from lwseg_ros.model.model_file import Manifest, ModelFile, load_model, resolve_model, save_model

SIZES_HW = ((512, 1024), (544, 960), (1024, 2048))
PRECISIONS = ("fp32", "fp16")
BATCHES = (1, 4)
NUM_CLASSES = 19
# What an H100-class card has to show: the default network, fp16, 544 x 960, one image at a time.
TARGET = ("dwrseg_b", [544, 960], "fp16", 1)
TARGET_CARDS = ("H100", "H200")
HOST_TO_HOST_PER_S, ENGINE_PER_S = 1330, 2500


@dataclass(frozen=True)
class Case:
    """A model to measure. graph: the same in PyTorch, in the file's precision; None where only the file is there."""

    model: ModelFile
    graph: InferenceGraph | None
    multiply_adds: int | None


def measure(
    cases: Iterator[Case | tuple[str, str]], batches: Sequence[int], seconds: float, args: Any
) -> dict[str, Any]:
    """Measure every case in every batch, and return the figures; a case may be a name and why it cannot be made.

    Raises BackendError where nothing could be measured.
    """
    result: dict[str, Any] = {
        "benchmark": "gpu",
        **conditions(args.device),
        "rows": [],
        "not_made": {},
        "comparisons": [],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    peaks: dict[str, float | None] = {}
    for case in cases:
        if isinstance(case, tuple):
            result["not_made"][case[0]] = case[1]
            continue
        precision = case.model.manifest.precision
        if precision not in peaks:
            peaks[precision] = contenders.peak_multiply_adds_per_s(precision, args.device)
        for batch in batches:
            result["rows"].append(row(case, batch, seconds, args.device, peaks[precision]))
            write_json(args.out / "gpu.json", result)
    measured = [found for row in result["rows"] for found in row["contenders"].values() if "missing" not in found]
    if not measured:
        missing = {found["missing"] for row in result["rows"] for found in row["contenders"].values()}
        raise BackendError("nothing could be measured: " + "; ".join(sorted(missing) or result["not_made"].values()))
    result["comparisons"] = comparisons(result)
    return result


def row(case: Case, batch: int, seconds: float, device_id: int, peak: float | None) -> dict[str, Any]:
    """Measure all contenders of a case in one size of a batch."""
    model = case.model
    images = random_images(model, batch)
    calls: dict[str, Callable[[], dict[str, Any]]] = {
        "tensorrt": partial(contenders.tensorrt, model, images, seconds, device_id),
        "onnxruntime cuda": partial(contenders.onnxruntime_cuda, model, images, seconds, device_id),
    }
    if case.graph is not None:
        for name, compiled in (("pytorch eager", False), ("pytorch compiled", True)):
            graph = copy.deepcopy(case.graph)
            calls[name] = partial(contenders.pytorch, graph, images, seconds, device_id, compiled=compiled)
    found: dict[str, Any] = {}
    for name, call in calls.items():
        try:
            found[name] = call()
        except BackendLostError:
            raise  # nothing more can be measured in this process
        except Exception as error:  # a peer may raise anything; the others are measured all the same
            found[name] = {
                "missing": str(error) if isinstance(error, LwsegError) else f"{type(error).__name__}: {error}"
            }
            continue
        engine_ms = found[name]["engine_ms"]
        found[name]["share_of_peak"] = (
            round(batch * case.multiply_adds / (engine_ms / 1e3) / peak, 4)
            if engine_ms and peak and case.multiply_adds
            else None
        )
    return {
        "network": model.manifest.network,
        "size_hw": list(model.manifest.input_size_hw),
        "precision": model.manifest.precision,
        "batch": batch,
        "multiply_adds": case.multiply_adds,
        "peak_multiply_adds_per_s": peak and round(peak),
        "contenders": found,
    }


def made_cases(
    networks: Sequence[str], sizes_hw: Sequence[tuple[int, int]], precisions: Sequence[str], folder: Path
) -> Iterator[Case | tuple[str, str]]:
    """Make a model file of every network, size and precision, one at a time."""
    for network_name in networks:
        for size_hw in sizes_hw:
            for precision in precisions:
                name = f"{network_name}, {size_hw[0]} x {size_hw[1]}, {precision}"
                print(name, file=sys.stderr, flush=True)
                try:
                    yield make_case(network_name, size_hw, precision, folder)
                except Exception as error:  # a network may not take a size, or an exporter not the network
                    yield name, f"{type(error).__name__}: {error}"


def make_case(network_name: str, size_hw: tuple[int, int], precision: str, folder: Path) -> Case:
    """Make a network with random weights, and its model file; raises what building and exporting raise."""
    torch.manual_seed(0)
    network = build_network(network_name, NUM_CLASSES).eval()
    multiply_adds = count_network(network, size_hw).multiply_adds
    graph = InferenceGraph(network, Normalize()).eval()
    proto = to_onnx(graph, size_hw, "fp16" if precision == "fp16" else "fp32")
    grey = [(level * 12, level * 12, level * 12) for level in range(NUM_CLASSES)]
    manifest = Manifest(
        network=network_name,
        classes=number_classes([f"class_{index}" for index in range(NUM_CLASSES)], grey),
        dataset="none",
        input_size_hw=size_hw,
        mean_rgb=(0.485, 0.456, 0.406),
        std_rgb=(0.229, 0.224, 0.225),
        precision=precision,
        uncertainty_kind="least_confidence",
        temperature=1.0,
        ignore_id=255,
        training={"recipe": "none: weights drawn at random"},
        validation={},
    )
    path = folder / f"{network_name}_{size_hw[0]}x{size_hw[1]}_{precision}.onnx"
    model = save_model(proto, manifest, path)
    if precision == "fp16":
        graph = InferenceGraph(network, Normalize(), half=True).eval()
    return Case(model, graph, multiply_adds)


def given_cases(models: Sequence[str]) -> Iterator[Case | tuple[str, str]]:
    """Load model files as they are."""
    for name in models:
        try:
            yield Case(load_model(resolve_model(name)), None, None)
        except LwsegError as error:
            yield name, str(error)


def conditions(device_id: int) -> dict[str, Any]:
    """Describe card, driver, libraries, machine and date; what is not there is null."""
    card: str | None = None
    with suppress(BackendError):
        card = cuda.find_device(device_id).name
    driver: str | None = None
    with suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", f"--id={device_id}", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "card": card,
        "driver": driver,
        "libraries": library_versions() | {"torch": torch.__version__},
        "machine": machine(),
    }


def comparisons(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold the target's row against what a card of its class has to show; nothing on other cards."""
    if not any(card in (result["card"] or "") for card in TARGET_CARDS):
        return []
    for found in result["rows"]:
        ours = found["contenders"]["tensorrt"]
        if (found["network"], found["size_hw"], found["precision"], found["batch"]) == TARGET and "missing" not in ours:
            engine = 1e3 / ours["engine_ms"]
            rate = ours["images_per_s"]
            return [
                comparison(
                    "host to host, images/s", rate, f"at least {HOST_TO_HOST_PER_S}", rate >= HOST_TO_HOST_PER_S, 0
                ),
                comparison("engine alone, images/s", engine, f"at least {ENGINE_PER_S}", engine >= ENGINE_PER_S, 0),
            ]
    return []


def table(result: dict[str, Any]) -> str:
    """Put the figures into a Markdown table under a line that says on what and when."""
    lines = [
        f"{result['date']}, {result['card'] or 'no CUDA device'}, driver {result['driver'] or 'unknown'}",
        ", ".join(f"{name} {version}" for name, version in result["libraries"].items()),
        "",
        "| network | size | precision | batch | contender | engine ms | p50 ms | p99 ms | images/s | of the peak |",
        "| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for found in result["rows"]:
        height, width = found["size_hw"]
        start = f"| {found['network']} | {height} x {width} | {found['precision']} | {found['batch']} |"
        for name, its in found["contenders"].items():
            if "missing" in its:
                lines.append(f"{start} {name} | missing: {its['missing']} | | | | |")
                continue
            engine = "" if its["engine_ms"] is None else f"{its['engine_ms']:.3f}"
            share = "" if its["share_of_peak"] is None else f"{its['share_of_peak']:.1%}"
            latency = its["latency_ms"]
            lines.append(
                f"{start} {name} | {engine} | {latency['p50']:.3f} | {latency['p99']:.3f} | {its['images_per_s']:.1f} | {share} |"
            )
    lines += [f"| {name} | not made: {reason} | | | | | | | | |" for name, reason in result["not_made"].items()]
    return "\n".join(lines)


def size(text: str) -> tuple[int, int]:
    """Read HxW."""
    height, width = map(int, text.split("x"))
    return height, width


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write; return 1 where nothing could be measured."""
    parser = argument_parser(__doc__)
    parser.add_argument("--network", nargs="*", default=sorted(NETWORKS), help="default: all")
    parser.add_argument("--size", nargs="*", type=size, default=SIZES_HW, metavar="HxW")
    parser.add_argument("--precision", nargs="*", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--batch", nargs="*", type=int, default=BATCHES)
    parser.add_argument("--model", nargs="*", default=[], help="model files as well, such as int8 ones")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default: %(default)s)")
    parser.add_argument("--device", type=int, default=0, help="CUDA device (default: %(default)s)")
    args = parser.parse_args(argv)

    def cases(folder: Path) -> Iterator[Case | tuple[str, str]]:
        yield from made_cases(args.network, args.size, args.precision, folder)
        yield from given_cases(args.model)

    with tempfile.TemporaryDirectory() as folder:
        return run("gpu", args, lambda: measure(cases(Path(folder)), args.batch, args.seconds, args), table)


if __name__ == "__main__":
    np.random.seed(0)
    sys.exit(main())
