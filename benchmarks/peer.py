"""How much sooner a label comes than from the node that a user would write in an afternoon: `python -m benchmarks.peer`.

That node is `benchmarks/afternoon_node.py`: rclpy, one callback, cv_bridge's arithmetic, PyTorch eager in fp32, the same network
with random weights. Both nodes run at once and are given the sample bag's images in turns, one at a time, by another process,
which receives their labels. Ours, with default settings, publishes uncertainty, times and diagnostics besides. Only an idle
machine gives figures.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.closed_loop import Contender, ask_in_turns, latencies_s, latency_ms
from benchmarks.program import argument_parser, comparison, markdown_table, round_ratio, run
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.model.precisions import find_model
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.process_group import NODE, node_arguments
from lwseg_ros.replay.live.topic_names import legal_topic
from lwseg_ros.replay.sample import SAMPLE_BAG

OURS, PEER = "this node", "the afternoon's node"
MIN_TIMES_AS_FAST = 3.0


def measure(model: str = DEFAULT_MODEL, turns: int = 6, images: int = 15) -> dict[str, Any]:
    """Give both nodes ``images`` in every turn, and return the figures; raises LwsegError."""
    path = find_model(model).model.path
    with Bag(SAMPLE_BAG) as bag:
        topic = bag.image_topic(None)
    ours = ["-m", "lwseg_ros.node", *node_arguments(topic, {"model": model})]
    contenders = {
        OURS: Contender(ours, legal_topic(topic.name), f"{NODE}/label"),
        PEER: Contender(["-m", "benchmarks.afternoon_node", str(path)], "/image/compressed", "/label"),
    }
    answers = ask_in_turns(SAMPLE_BAG, contenders, turns=turns, images=images)
    ratio = round_ratio(latencies_s(answers[PEER]), latencies_s(answers[OURS]))
    wanted = f"at least {MIN_TIMES_AS_FAST}"
    return {
        "benchmark": "peer",
        "model": path.name,
        "images": turns * images,
        "size_hw": [360, 480],
        "contenders": {name: {"latency_ms": latency_ms(turns)} for name, turns in answers.items()},
        "comparisons": [comparison(f"{OURS} times as fast as {PEER}", ratio, wanted, ratio >= MIN_TIMES_AS_FAST)],
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into a Markdown table."""
    rows = [
        [name, *(f"{value:.1f}" for value in row["latency_ms"].values())] for name, row in figures["contenders"].items()
    ]
    title = f"publish to label received, 480 x 360, {figures['model']}, {figures['images']} images one at a time"
    ratios = [f"{row['name']}: {row['value']:.2f} ({row['wanted']} wanted)" for row in figures["comparisons"]]
    return "\n".join([title, "", markdown_table(("node", "p50 ms", "p95 ms", "p99 ms"), rows), "", *ratios])


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `peer.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    args = parser.parse_args(argv)
    return run("peer", args, lambda: measure(args.model), table)


if __name__ == "__main__":
    sys.exit(main())
