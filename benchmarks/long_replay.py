"""Whether an offline replay's memory grows with its length: `python -m benchmarks.long_replay --frames 10000`.

The sample bag's frames and ground truth, again and again under new stamps, are one long bag, which is replayed as
`lwseg replay --offline` does. Memory is the process's resident size; what counts is how it changes after a warm-up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from benchmarks.program import argument_parser, comparison, run
from lwseg_ros.backends import BACKENDS
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.cdr import with_stamp_ns
from lwseg_ros.replay.live.usage import read_usage
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.segmenter import Segmenter

NUM_SAMPLES = 50
WARM_UP = 0.1  # of the frames
MAX_GROWTH_MB_PER_1000 = 5.0  # rows and times of frames are kept, pictures are not
PERIOD_NS = 66_666_667


def write_long_bag(path: Path, num_frames: int) -> None:
    """Write a bag of so many frames of the sample bag, each with its ground truth."""
    typestore = get_typestore(Stores.ROS2_HUMBLE)
    with Bag(SAMPLE_BAG) as sample, Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        [truth] = sample.label_topics()
        topics = (sample.image_topic(), truth)
        connections = [writer.add_connection(topic.name, topic.msgtype, typestore=typestore) for topic in topics]
        recorded = [list(sample.messages(topic)) for topic in topics]
        for index in range(num_frames):
            stamp_ns = 10**9 + index * PERIOD_NS
            for connection, messages in zip(connections, recorded, strict=True):
                writer.write(connection, stamp_ns, with_stamp_ns(messages[index % len(messages)].raw, stamp_ns))


def measure(num_frames: int, model: str, backend: str) -> dict[str, Any]:
    """Replay the long bag once and return the figures; raises LwsegError."""
    samples: list[tuple[int, float]] = []
    every = max(1, num_frames // NUM_SAMPLES)
    frames = iter(range(1, num_frames + 1))

    def advance() -> None:
        index = next(frames)
        if index % every == 0:
            usage = read_usage(os.getpid())
            assert usage is not None
            samples.append((index, usage.rss_mb))
            print(f"\r{index} of {num_frames} frames, {usage.rss_mb:.1f} MB", end="", file=sys.stderr, flush=True)

    def progress(total: int) -> Callable[[], object]:
        return advance

    with temporary_folder("lwseg_long_") as folder, Segmenter.open(model, backend) as segmenter:
        write_long_bag(folder / "bag", num_frames)
        result = replay_offline(folder / "bag", segmenter, num_kept=6, progress=progress)
    print(file=sys.stderr)
    after = [(index, rss_mb) for index, rss_mb in samples if index >= WARM_UP * num_frames]
    if len(after) < 2:
        raise LwsegError(f"{num_frames} frames are too few to tell how memory changes; give --frames 100 or more")
    growth = 1000 * float(np.polyfit(*np.array(after).T, 1)[0])
    figures = result.figures()
    return {
        "benchmark": "long_replay",
        **{name: figures[name] for name in ("model", "backend", "precision", "frames", "rate_hz", "engine_hz")},
        "memory_mb": [{"frame": index, "rss": round(rss_mb, 1)} for index, rss_mb in samples],
        "growth_mb_per_1000_frames": growth,
        "comparisons": [
            comparison(
                "offline memory growth, MB per 1000 frames",
                growth,
                f"at most {MAX_GROWTH_MB_PER_1000}",
                growth <= MAX_GROWTH_MB_PER_1000,
            )
        ],
        "machine": machine(),
    }


def table(figures: dict[str, Any]) -> str:
    """Put the figures into lines of text."""
    memory = figures["memory_mb"]
    rows = [
        ("frames", f"{figures['frames']['segmented']} of {figures['frames']['published']} segmented"),
        ("frames a second", f"{figures['rate_hz']:.1f}, the engine alone {figures['engine_hz']:.1f}"),
        *((f"memory at frame {row['frame']}", f"{row['rss']:.1f} MB") for row in memory[:: max(1, len(memory) // 10)]),
        ("growth after a warm-up", f"{figures['growth_mb_per_1000_frames']:+.2f} MB per 1000 frames"),
    ]
    title = f"long offline replay: {figures['model']} on {figures['backend']} ({figures['precision']})"
    return "\n".join([title, *(f"  {name:<26} {text}" for name, text in rows)])


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table (or JSON), and write `long_replay.json`; return the exit code."""
    parser = argument_parser(__doc__)
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    args = parser.parse_args(argv)
    return run("long_replay", args, lambda: measure(args.frames, args.model, args.backend), table)


if __name__ == "__main__":
    sys.exit(main())
