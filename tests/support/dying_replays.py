"""Replays whose process is killed in the middle of a bag; in a module of its own, which the processes of a fleet import."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.segmenter import Segmenter


def replay_or_die(
    bag: Path, segmenter: Segmenter, *, folder: Path, deaths: dict[str, int], ground_truth: GroundTruth | None = None
) -> ReplayResult:
    """Replay, but die at the second frame as many times as `deaths` says for the bag; the folder holds the count."""

    def progress(total: int) -> Callable[[], object]:
        frames = iter(range(1, total + 1))

        def advance() -> None:
            died = sorted(folder.glob(f"{bag.name}.*"))
            if next(frames) == 2 and len(died) < deaths.get(bag.name, 0):
                (folder / f"{bag.name}.{len(died)}").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        return advance

    return replay_offline(bag, segmenter, ground_truth=ground_truth, num_kept=1, num_extreme=1, progress=progress)
