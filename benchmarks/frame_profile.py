"""Where a frame's time goes: `python -m benchmarks.frame_profile`.

A camera in one process publishes images of 480 x 360 and of 1920 x 1080, as JPEG and raw, one at a time; the real node with
clocks in it (`benchmarks/traced_node.py`) answers to that process. Told are the medians of each stage beside its limit: the
time in which this machine copies the bytes that the stage has to read and write, or does its multiply-adds at the rate of a large
matrix product or convolution. The bare network is cut out of the model file and measured in turns with the whole engine, both
in OpenVINO. `--docs` draws the picture beside the page as well. Only an idle machine gives figures.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lwseg_training.networks.count import count_network

from benchmarks.camera_bags import write_camera_bag
from benchmarks.closed_loop import Contender, ask_in_turns
from benchmarks.frame_picture import frame_svg
from benchmarks.frame_stages import AFTER, STAGES, Work, stage_times_ms, work_of
from benchmarks.inference import ROUNDS, network_of
from benchmarks.limits import copy_s, lowest_precision, peak
from benchmarks.openvino_graphs import bare_network
from benchmarks.program import argument_parser, comparison, markdown_table, round_ratio, run
from lwseg_ros.backends import BackendOptions, open_best
from lwseg_ros.evaluation.latency import random_images, take_turns
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.host.files import write_atomically
from lwseg_ros.model.model_file import DEFAULT_MODEL, ModelFile
from lwseg_ros.model.precisions import ModelPrecisions, find_model
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.process_group import NODE, node_arguments
from lwseg_ros.replay.live.topic_names import legal_topic

MAX_ALL_TO_BARE = 1.15
PICTURE = "images/frame.svg"


class Case(NamedTuple):
    """A camera."""

    size_hw: tuple[int, int]
    encoding: str

    def __str__(self) -> str:
        return f"{self.size_hw[1]} x {self.size_hw[0]}, {self.encoding}"


CASES = (
    Case((360, 480), "jpeg"),
    Case((360, 480), "rgb8"),
    Case((1080, 1920), "jpeg"),
    Case((1080, 1920), "rgb8"),
)


def measure(model: str = DEFAULT_MODEL, images: int = 60, seconds: float = 4.0) -> dict[str, Any]:
    """Profile ``images`` of every camera, and the engine for ``seconds``; raises LwsegError."""
    found = find_model(model)
    with tempfile.TemporaryDirectory(prefix="lwseg_profile_") as folder:
        profiles = {str(case): live_profile(case, model, images, Path(folder)) for case in CASES}
    file, whole_to_bare, precision = engine_to_bare(found, seconds)
    multiply_adds = count_network(network_of(file), file.manifest.input_size_hw).multiply_adds
    rate = peak(lowest_precision(precision))
    cases = {}
    for case in CASES:
        times_ms, message_bytes = profiles[str(case)]
        work = work_of(case.size_hw, file.manifest.input_size_hw, message_bytes, case.encoding, multiply_adds)
        cases[str(case)] = {
            "stages": {stage: _row(times_ms[stage], work.get(stage, Work()), rate) for stage in (*STAGES, AFTER)},
            "all_ms": round(times_ms["all"], 3),
            "all_to_engine": round(times_ms["all"] / times_ms["engine"], 3),
            "all_to_bare": round(times_ms["all"] / times_ms["engine"] * whole_to_bare, 3),
        }
    ratio, wanted = cases[str(CASES[0])]["all_to_bare"], f"at most {MAX_ALL_TO_BARE}"
    name = f"publish to label received vs bare network, {CASES[0]}"
    return {
        "benchmark": "frame_profile",
        "model": file.path.name,
        "precision": precision,
        "images": images,
        "cases": cases,
        "engine_to_bare": round(whole_to_bare, 3),
        "peak_multiply_adds_per_s": round(rate),
        "comparisons": [comparison(name, ratio, wanted, ratio <= MAX_ALL_TO_BARE)],
        "machine": machine(),
    }


def live_profile(case: Case, model: str, images: int, folder: Path) -> tuple[dict[str, float], int]:
    """Let the node answer to a camera's images; return the milliseconds of each stage, and the bytes of a message."""
    bag = write_camera_bag(folder / f"{case.encoding}_{case.size_hw[0]}", case.size_hw, case.encoding, images=10)
    with Bag(bag) as opened:
        topic = opened.image_topic(None)
        message_bytes = len(next(opened.messages(topic)).raw)
    spans = folder / "spans.json"
    arguments = node_arguments(topic, {"model": model, "backend": "openvino"})
    contender = Contender(
        ["-m", "benchmarks.traced_node", str(spans), *arguments], legal_topic(topic.name), f"{NODE}/label"
    )
    (answers,) = ask_in_turns(bag, {"node": contender}, turns=1, images=images)["node"]
    return stage_times_ms(answers, json.loads(spans.read_text(encoding="utf-8"))), message_bytes


def engine_to_bare(model: ModelPrecisions, seconds: float) -> tuple[ModelFile, float, str]:
    """Return the file that OpenVINO takes, how many times as long it takes as its network alone, and its precision."""
    file, choice = open_best(model, "openvino", BackendOptions())
    with closing(choice.backend) as backend:
        normalised = np.random.default_rng(0).standard_normal((1, 3, *file.manifest.input_size_hw), np.float32)
        calls = {
            "whole": partial(backend.infer, random_images(file, 1)),
            "bare": partial(bare_network(file, backend.precision), normalised),
        }
        rounds = take_turns(calls, seconds / ROUNDS, ROUNDS)
        return file, round_ratio(rounds["whole"], rounds["bare"]), backend.precision


def _row(time_ms: float, work: Work, rate: float) -> dict[str, Any]:
    limit_ms = 1e3 * (work.multiply_adds / rate if work.multiply_adds else copy_s(work.num_bytes))
    return {**work._asdict(), "p50_ms": round(time_ms, 3), "limit_ms": round(limit_ms, 4)}


def table(figures: dict[str, Any]) -> str:
    """Put the figures into Markdown: the picture where one was drawn, and a table a camera."""
    lines = [f"![Where a frame's time goes]({figures['picture']})", ""] if "picture" in figures else []
    for name, case in figures["cases"].items():
        rows = []
        for stage, row in case["stages"].items():
            limit_ms = row["limit_ms"]
            rows.append(
                [
                    f"{stage}: {STAGES[stage]}" if stage in STAGES else stage,
                    f"{row['num_bytes'] / 1e6:.2f}" if row["num_bytes"] else "",
                    f"{row['multiply_adds'] / 1e9:.2f}" if row["multiply_adds"] else "",
                    f"{row['p50_ms']:.2f}",
                    f"{limit_ms:.3f}" if limit_ms else "",
                    f"{row['p50_ms'] / limit_ms:.1f}" if limit_ms else "",
                ]
            )
        lines += [
            f"**{name}**: {case['all_ms']:.1f} ms, {case['all_to_engine']:.2f} times the engine, {case['all_to_bare']:.2f} times "
            "the bare network",
            "",
            markdown_table(("stage", "MB", "G multiply-adds", "p50 ms", "limit ms", "times the limit"), rows),
            "",
        ]
    lines.append(
        f"{figures['model']} in {figures['precision']}; the engine takes {figures['engine_to_bare']:.2f} times as long as the bare "
        f"network; {figures['peak_multiply_adds_per_s'] / 1e9:.0f} G multiply-adds a second at the peak."
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `frame_profile.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    args = parser.parse_args(argv)

    def measure_and_draw() -> dict[str, Any]:
        figures = measure(args.model)
        if args.docs is not None:
            write_atomically(args.docs.parent / PICTURE, frame_svg(figures).encode())
            figures["picture"] = PICTURE
        return figures

    return run("frame_profile", args, measure_and_draw, table)


if __name__ == "__main__":
    sys.exit(main())
