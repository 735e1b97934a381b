"""Many bags over several processes: the figures of one after another, whatever becomes of the processes."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bag_files import LABEL_TOPIC, image_message, painted_messages, write_messages
from support.child_processes import children
from support.dying_replays import replay_or_die
from support.tiny_model import CLASSES

from lwseg_ros.errors import LwsegError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.fleet import BagOutcome, Fleet, replay_fleet
from lwseg_ros.replay.ground_truth import GroundTruth, Mask
from lwseg_ros.replay.label_map import LabelMap
from lwseg_ros.replay.merging import merge_results
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.segmenter import Segmenter

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'lwseg_ros[fleet]'")
NUM_BAGS = 8
GROUND_TRUTH = GroundTruth(
    label_map=LabelMap("reversed", {stored: (CLASSES[4 - stored].name,) for stored in range(5)}, {}),
    mask=Mask(np.arange(48)[:, None].repeat(64, axis=1) < 24, "mask.png", "5a" * 32),
)


@pytest.fixture
def bags(tmp_path: Path) -> list[Path]:
    """Eight bags of different lengths, in each of which other pixels of the ground truth are wrong."""
    paths = []
    for number in range(NUM_BAGS):
        messages = painted_messages(3 + number % 3)
        for index, (topic, stamp, _) in enumerate(messages):
            if topic == LABEL_TOPIC:
                label = np.random.default_rng([number, index]).integers(0, 5, (48, 64), np.uint8)
                messages[index] = (topic, stamp, image_message(label, stamp))
        paths.append(write_messages(tmp_path / f"bag{number}", messages))
    return paths


def measured(result: ReplayResult) -> dict[str, Any]:
    """The figures without the times, which no two runs share."""
    times = ("rate_hz", "latency_ms", "engine_ms", "engine_hz")
    return {name: value for name, value in result.figures().items() if name not in times}


def fleet_outcomes(bags: list[Path], model: ModelFile, **options: Any) -> dict[Path, BagOutcome]:
    replay = options.pop("replay", partial(replay_offline, num_kept=1))
    return {
        o.bag: o for o in replay_fleet(bags, Fleet(num_workers=2), str(model.path), "onnxruntime", replay, **options)
    }


def test_two_workers_give_the_figures_of_one_after_another_also_when_one_is_killed(
    tmp_path: Path, tiny_model: ModelFile, bags: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        alone = [replay_offline(bag, segmenter, ground_truth=GROUND_TRUTH, num_kept=1, num_extreme=1) for bag in bags]
    replay = partial(
        replay_or_die, folder=tmp_path, deaths={bags[1].name: 1, bags[5].name: 1}, ground_truth=GROUND_TRUTH
    )
    outcomes = fleet_outcomes(bags, tiny_model, replay=replay)
    assert [path.name for path in sorted(tmp_path.glob("bag?.0"))] == ["bag1.0", "bag5.0"]  # both did die
    results = []
    for bag, one in zip(bags, alone, strict=True):
        result = outcomes[bag].result
        assert result is not None, outcomes[bag].error
        assert measured(result) == measured(one)
        assert result.source == str(bag)
        results.append(result)
    one, other = merge_results(alone, 3, 2), merge_results(results, 3, 2)
    assert measured(one) == measured(other)
    assert np.array_equal(one.evaluator.confusion.counts, other.evaluator.confusion.counts)
    assert np.array_equal(one.evaluator.uncertainty.counts, other.evaluator.uncertainty.counts)
    assert one.rows == other.rows
    assert [(frame.index, frame.why) for frame in one.kept] == [(frame.index, frame.why) for frame in other.kept]
    assert one.truth == other.truth
    assert one.truth.pixels_masked == 24 * 64 * one.truth.judged
    assert one.counts.published == sum(3 + number % 3 for number in range(NUM_BAGS))
    assert not list((tmp_path / "temporary").iterdir())
    assert not [command for command in children().values() if "spawn_main" in command]


def test_a_bag_that_fails_is_named_and_the_others_stand(
    tmp_path: Path, tiny_model: ModelFile, bags: list[Path]
) -> None:
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(b"\x89MCAP0\r\n")
    replay = partial(replay_or_die, folder=tmp_path, deaths={bags[0].name: 1000})
    outcomes = fleet_outcomes([bags[0], damaged, bags[1]], tiny_model, replay=replay)
    assert outcomes[bags[0]].error.startswith("KilledWorker: ")
    assert outcomes[damaged].error.startswith(f"the bag {damaged} is empty")
    assert outcomes[bags[1]].result is not None
    assert len(list(tmp_path.glob("bag0.?"))) == 4


def test_the_workers_of_a_scheduler_that_is_there(tiny_model: ModelFile, bags: list[Path]) -> None:
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        outcomes = list(
            replay_fleet(
                bags[:2],
                Fleet(scheduler=cluster.scheduler_address),
                str(tiny_model.path),
                "onnxruntime",
                partial(replay_offline, num_kept=1),
            )
        )
        assert sorted(outcome.bag for outcome in outcomes) == bags[:2]
        assert all(outcome.result is not None for outcome in outcomes)


def test_what_cannot_be_reached_is_said(
    tiny_model: ModelFile, bags: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(fleet: Fleet) -> None:
        next(replay_fleet(bags, fleet, str(tiny_model.path), "onnxruntime", replay_offline))

    monkeypatch.setattr("lwseg_ros.replay.fleet.CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(LwsegError, match=r"no Dask scheduler with workers answers at 'tcp://127\.0\.0\.1:9'"):
        start(Fleet(scheduler="tcp://127.0.0.1:9"))
    with pytest.raises(LwsegError, match="no Dask scheduler with workers answers at 'here:there'"):
        start(Fleet(scheduler="here:there"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LwsegError, match=r"distributed is not installed; `pip install 'lwseg_ros\[fleet\]'`"):
        start(Fleet(num_workers=2))


def test_an_interrupted_fleet_ends_with_what_there_is(tiny_model: ModelFile, bags: list[Path]) -> None:
    outcomes: dict[Path, BagOutcome] = {}
    replays = replay_fleet(
        bags,
        Fleet(num_workers=2),
        str(tiny_model.path),
        "onnxruntime",
        replay_offline,
        interrupted=lambda: len(outcomes) >= 2,
    )
    for outcome in replays:
        outcomes[outcome.bag] = outcome
    assert 2 <= len(outcomes) < NUM_BAGS
    assert not [command for command in children().values() if "spawn_main" in command]
