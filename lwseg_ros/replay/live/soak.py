"""The node under load for long: start it as a vehicle does, keep images coming, and watch what it uses and answers."""

from __future__ import annotations

import contextlib
import queue
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwseg_ros.errors import BagError, LwsegError
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.model.model_file import load_model
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.live.opened_model import opened_model
from lwseg_ros.replay.live.process_group import LiveReplayError, ProcessGroup, image_bytes, require_rclpy
from lwseg_ros.replay.live.processes import interrupts_deferred
from lwseg_ros.replay.live.usage import read_usage
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.replay.soak_results import Sample, SoakCounts, SoakResult

SAMPLE_PERIOD_S = 1.0
# Counts that have not changed for this long will not change any more: the node reports once a second.
SETTLED_S = 5.0
# The batch in hand may be a slow one, and the machine a busy one.
STOP_TIMEOUT_S = 30.0
MAX_COMPLAINTS = 20
LEVELS = ("ok", "warning", "error", "stale")  # of diagnostic_msgs/DiagnosticStatus


@dataclass(frozen=True)
class SoakOptions:
    """How to soak.

    Attributes:
        model: path of the model file.
        backend: `auto` or the name of one.
        minutes: how long.
        rate_hz: images a second.
        startup_timeout_s: until the node answers on the network; building a TensorRT engine may take minutes.
        parameters: further parameters of the node.
    """

    model: Path
    backend: str = "auto"
    minutes: float = 30.0
    rate_hz: float = 15.0
    startup_timeout_s: float = 600.0
    parameters: dict[str, str | int | float | bool] = field(default_factory=dict)


def run_soak(
    options: SoakOptions,
    *,
    bag: Path = SAMPLE_BAG,
    interrupted: Callable[[], bool] = lambda: False,
    on_sample: Callable[[Sample], object] = lambda sample: None,
) -> SoakResult:
    """Run the node on a bag's images, round and round, and return what was measured, also where a process died on the way.

    Args:
        options: how.
        bag: whose images; it holds one image topic besides the ground truth.
        interrupted: asked several times a second; when it is true the soak ends in order, before its time.
        on_sample: gets every sample as it is taken.

    Raises:
        BagError: the bag cannot be used.
        ModelFileError: the model file cannot be used.
        LiveReplayError: ROS is not there, or the node did not get ready.
        KeyboardInterrupt: interrupted before the node was ready.
    """
    require_rclpy()
    model = load_model(options.model)
    with temporary_folder("lwseg_soak_") as folder, Bag(bag) as opened:
        image = opened.image_topic()
        soak = _Soak(bag, image, image_bytes(opened, image), options, folder, interrupted, on_sample)
        soak.run()
        return SoakResult(
            source=str(bag),
            model=opened_model(model, soak.diagnostics),
            minutes=options.minutes,
            rate_hz=options.rate_hz,
            duration_s=soak.duration_s,
            samples=tuple(soak.samples),
            latencies_ms=soak.latencies_ms,
            counts=soak.counts(),
            diagnostics=soak.diagnostics,
            levels=soak.levels,
            complaints=tuple(soak.complaints),
            interrupted=soak.ended_early,
            failure=soak.failure,
            warnings=(*opened.warnings, *soak.warnings),
        )


class _Soak:
    """The node and its driver, what they have told so far, and the samples taken."""

    def __init__(
        self,
        bag: Path,
        image: Topic,
        image_bytes: int,
        options: SoakOptions,
        folder: Path,
        interrupted: Callable[[], bool],
        on_sample: Callable[[Sample], object],
    ) -> None:
        self.samples: list[Sample] = []
        self.latencies_ms = array("f")
        self.diagnostics: dict[str, str] = {}
        self.levels: Counter[str] = Counter()
        self.complaints: dict[str, None] = {}  # in the order of their first appearance
        self.duration_s = 0.0
        self.ended_early = False
        self.failure = ""
        self._bag = bag
        self._image = image
        self._options = options
        self._interrupted = interrupted
        self._on_sample = on_sample
        self._group = ProcessGroup("soak", folder, image_bytes)
        self.warnings = self._group.warnings
        self._ready: set[str] = set()
        self._told: dict[str, Any] = {"published": 0, "label": 0, "uncertainty": 0, "unexpected": 0, "publishing": True}
        self._recent_latencies_ms: list[float] = []
        self._last_cpu: tuple[float, float] | None = None  # when the last sample was, and the node's CPU seconds then

    def run(self) -> None:
        """Start both, keep the load up, let the counts settle, and stop both, whatever happens."""
        options = self._options
        with self._group:
            with interrupts_deferred():
                self._group.start_node(self._image, options.model, options.backend, options.parameters)
                config = {"bag": str(self._bag), "image_topic": self._image.name, "rate_hz": options.rate_hz}
                self._group.start("soak_driver", config)
            self._wait_until_ready()
            try:
                self._keep_up(options.minutes * 60)
                self._group.children["soak_driver"].send("stop")
                self._settle()
                self._end_node()
            except LwsegError as error:
                self.failure = str(error)

    def counts(self) -> SoakCounts:
        """What driver and node have told by now."""
        told, node = self._told, self.diagnostics
        return SoakCounts(
            published=told["published"],
            labels=told["label"],
            uncertainties=told["uncertainty"],
            unexpected=told["unexpected"],
            received=int(node.get("received", 0)),
            segmented=int(node.get("segmented", 0)),
            dropped={
                key.removeprefix("dropped_"): int(value) for key, value in node.items() if key.startswith("dropped_")
            },
            lost_reported=int(node.get("lost_in_transport", 0)),
        )

    def _wait_until_ready(self) -> None:
        give_up_s = time.monotonic() + self._options.startup_timeout_s
        while not self._ready >= {"node", "soak_driver"}:
            self._handle_events()
            if self._interrupted():
                raise KeyboardInterrupt
            if time.monotonic() > give_up_s:
                raise LiveReplayError(
                    f"not ready within {self._options.startup_timeout_s:g} s. The node said:\n"
                    + self._group.children["node"].last_words()
                )

    def _keep_up(self, seconds: float) -> None:
        self._group.children["soak_driver"].send("go")
        start_s = due_s = time.monotonic()
        while self.duration_s < seconds and not self.ended_early:
            if time.monotonic() >= due_s:
                self._take_sample(time.monotonic() - start_s)
                due_s += SAMPLE_PERIOD_S
            self._handle_events()
            self.duration_s = time.monotonic() - start_s
            self.ended_early = self._interrupted()
        if not self.samples or self.duration_s - self.samples[-1].time_s > SAMPLE_PERIOD_S / 2:
            self._take_sample(self.duration_s)

    def _take_sample(self, time_s: float) -> None:
        usage = read_usage(self._group.children["node"].pid)
        if usage is None:  # whoever looks at the exit codes tells more
            return
        cpu_percent = None
        if self._last_cpu is not None:
            last_s, last_cpu_s = self._last_cpu
            cpu_percent = 100 * (usage.cpu_s - last_cpu_s) / (time_s - last_s)
        self._last_cpu = time_s, usage.cpu_s
        sample = Sample(
            time_s=time_s,
            rss_mb=usage.rss_mb,
            threads=usage.threads,
            handles=usage.handles,
            cpu_percent=cpu_percent,
            published=self._told["published"],
            labels=self._told["label"],
            latency_p50_ms=percentiles(self._recent_latencies_ms, (50,))["p50"],
            latency_max_ms=max(self._recent_latencies_ms, default=None),
        )
        self._recent_latencies_ms.clear()
        self.samples.append(sample)
        self._on_sample(sample)

    def _settle(self) -> None:
        """Wait until every image is accounted for, or nothing changes any more."""
        last, changed_s = self.counts(), time.monotonic()
        while time.monotonic() - changed_s < SETTLED_S:
            self._handle_events()
            now = self.counts()
            if not (self._told["publishing"] or now.lost or now.faults()):
                return
            if now != last:
                last, changed_s = now, time.monotonic()

    def _end_node(self) -> None:
        node = self._group.children["node"]
        node.stop(STOP_TIMEOUT_S)
        if node.exit_code:
            raise LiveReplayError(
                f"the node process was told to end and did so with exit code {node.exit_code}; "
                f"it said:\n{node.last_words()}"
            )

    def _handle_events(self) -> None:
        """Handle what has come, or wait a little for it; raise what has happened."""
        with contextlib.suppress(queue.Empty):
            self._handle(self._group.events.get(timeout=0.1))
        self._group.check_alive(self._handle)

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "ready":
            self._ready.add(event["source"])
        elif kind == "counts":
            self._told = event
            self.latencies_ms.extend(event["latencies_ms"])
            self._recent_latencies_ms += event["latencies_ms"]
        elif kind == "diagnostics":
            self.diagnostics.update(event["values"])
            if event["values"].get("state") == "active":
                self._ready.add("node")
            self.levels[LEVELS[event["level"]]] += 1
            for message in event["messages"]:
                if len(self.complaints) < MAX_COMPLAINTS:
                    self.complaints.setdefault(message)
        elif kind == "failed":
            raise BagError(event["message"])
