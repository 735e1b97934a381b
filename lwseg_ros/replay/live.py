"""Replay a bag through the live node: node, player and collector, each in a process of its own, over real DDS.

This process only starts, watches and stops them, and so needs no ROS itself.
"""

from __future__ import annotations

import contextlib
import json
import queue
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from lwseg_ros import images
from lwseg_ros.errors import BagError, LwsegError
from lwseg_ros.replay.bag import COMPRESSED_IMAGE, IMAGE, Topic
from lwseg_ros.replay.cdr import header_stamp_ns
from lwseg_ros.replay.evaluation import Answer
from lwseg_ros.replay.processes import Child, Events, ros_environment

NODE = "/segment"
DIAGNOSTICS_PERIOD_S = 1.0
# No answer for this long after the last image means that the missing ones will not come.
SILENCE_S = 3.0


class LiveReplayError(LwsegError):
    """The live replay did not get to its end; the message holds what the failing process said."""


@dataclass(frozen=True)
class LiveOptions:
    """How to replay.

    Attributes:
        model: path of the model file.
        backend: `auto` or the name of one.
        rate: factor on the recorded rate; None sends the next image when the previous one is answered.
        startup_timeout_s: until the node answers on the network; building a TensorRT engine may take minutes.
        parameters: further parameters of the node.
    """

    model: Path
    backend: str = "auto"
    rate: float | None = 1.0
    startup_timeout_s: float = 600.0
    parameters: dict[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """An image that went out: its index in the bag, its stamp on the wire, and when (CLOCK_MONOTONIC)."""

    index: int
    stamp_ns: int
    publish_ns: int


@dataclass(frozen=True)
class Received:
    """A message that arrived: when (CLOCK_MONOTONIC) and where it lies in the spool."""

    receive_ns: int
    offset: int
    size: int


class LiveRecording:
    """What went out and what came back. Reads the spool file, so it lives as long as that."""

    def __init__(self, spool: Path) -> None:
        """Start with nothing published and nothing received."""
        self.published: list[Published] = []
        self.received: dict[str, list[Received]] = {"label": [], "uncertainty": [], "time": [], "diagnostics": []}
        self._spool = spool
        self._typestore = get_typestore(Stores.ROS2_HUMBLE)
        self._by_stamp: dict[str, dict[int, Received]] = {}

    def index(self) -> None:
        """Sort the received images by stamp, once everything has arrived."""
        for kind in ("label", "uncertainty"):
            self._by_stamp[kind] = {header_stamp_ns(self._raw(item)): item for item in self.received[kind]}

    def answer(self, index: int) -> Answer | None:
        """Read the answer to the bag's image number `index`, or None where none came."""
        stamp_ns = self.published[index].stamp_ns if index < len(self.published) else -1
        label, uncertainty = (self._by_stamp[kind].get(stamp_ns) for kind in ("label", "uncertainty"))
        if label is None:
            return None
        return Answer(self._image(label), None if uncertainty is None else self._image(uncertainty))

    @property
    def num_answered(self) -> int:
        """Number of published images whose label came back."""
        return sum(item.stamp_ns in self._by_stamp["label"] for item in self.published)

    @property
    def latencies_ms(self) -> list[float | None]:
        """Milliseconds from publishing to receiving the label, one per published image; None where none came."""
        arrivals = [self._by_stamp["label"].get(item.stamp_ns) for item in self.published]
        return [
            None if arrival is None else (arrival.receive_ns - item.publish_ns) / 1e6
            for item, arrival in zip(self.published, arrivals, strict=True)
        ]

    @property
    def rate_hz(self) -> float:
        """Labels received per second; nan for fewer than two."""
        arrivals = [item.receive_ns for item in self.received["label"]]
        return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 1e9 if len(arrivals) > 1 else float("nan")

    @property
    def engine_ms(self) -> list[float]:
        """The node's own time for each inference, in milliseconds."""
        return [float(np.frombuffer(self._raw(item)[-8:], np.float64)[0]) for item in self.received["time"]]

    @property
    def diagnostics(self) -> dict[str, str]:
        """The values of the node's last diagnostics."""
        for item in reversed(self.received["diagnostics"]):
            array: Any = self._typestore.deserialize_cdr(self._raw(item), "diagnostic_msgs/msg/DiagnosticArray")
            for status in array.status:
                if NODE.strip("/") in status.name:
                    return {pair.key: pair.value for pair in status.values}
        return {}

    def _raw(self, item: Received) -> bytes:
        with self._spool.open("rb") as spool:
            spool.seek(item.offset)
            return spool.read(item.size)

    def _image(self, item: Received) -> np.ndarray:
        message: Any = self._typestore.deserialize_cdr(self._raw(item), IMAGE)
        return images.view(message)


@contextlib.contextmanager
def replay_live(
    bag: Path,
    image_topic: Topic,
    options: LiveOptions,
    progress: Callable[[str, int], object] = lambda event, count: None,
) -> Iterator[LiveRecording]:
    """Play a bag through the node and yield the recording, which is gone after the `with` block.

    Args:
        progress: called with `published` or `label` and how many there are by now.

    Raises:
        LiveReplayError: a process died or nothing happened for too long.
        BagError: the bag cannot be read to its end.
    """
    with tempfile.TemporaryDirectory(prefix="lwseg_replay_") as name:
        folder = Path(name)
        recording = LiveRecording(folder / "spool.bin")
        with ExitStack() as stack:
            _Session(bag, image_topic, options, folder, recording, progress, stack).run()
        recording.index()
        yield recording


class _Session:
    """One run of the three processes."""

    def __init__(
        self,
        bag: Path,
        image_topic: Topic,
        options: LiveOptions,
        folder: Path,
        recording: LiveRecording,
        progress: Callable[[str, int], object],
        stack: ExitStack,
    ) -> None:
        self._options = options
        self._recording = recording
        self._progress = progress
        self._events: Events = Events()
        self._environment = ros_environment()
        self._folder = folder
        self._stack = stack
        self._ready: set[str] = set()
        self._done = False
        self._num_asked = 0
        self._progress_s = 0.0
        self._node = self._start("node", ["-m", "lwseg_ros.node", *_node_arguments(image_topic, options)])
        self._collector = self._start_with_config(
            "collector",
            {
                "spool": str(folder / "spool.bin"),
                "topics": [
                    {"kind": "label", "name": f"{NODE}/label", "msgtype": IMAGE},
                    {"kind": "uncertainty", "name": f"{NODE}/uncertainty", "msgtype": IMAGE},
                    {"kind": "diagnostics", "name": "/diagnostics", "msgtype": "diagnostic_msgs/msg/DiagnosticArray"},
                ],
            },
        )
        self._player = self._start_with_config(
            "player", {"bag": str(bag), "image_topic": image_topic.name, "rate": options.rate}
        )

    def run(self) -> None:
        """Wait until all are ready, play, and wait for the last answers and one more diagnostics message."""
        if not self._wait_until(lambda: self._ready >= {"player", "collector"}, self._options.startup_timeout_s):
            missing = " and ".join(sorted({"player", "collector"} - self._ready))
            raise LiveReplayError(
                f"the node was not ready within {self._options.startup_timeout_s:g} s ({missing} found no match); "
                f"it said:\n{self._node.last_words()}"
            )
        self._ask_for_next()
        self._wait_until(lambda: self._done)
        self._wait_until(lambda: not self._num_unanswered(), SILENCE_S)
        after_ns = time.monotonic_ns()
        diagnostics = self._recording.received["diagnostics"]
        self._wait_until(lambda: diagnostics[-1:] > [Received(after_ns, 0, 0)], 3 * DIAGNOSTICS_PERIOD_S)

    def _num_unanswered(self) -> int:
        return len(self._recording.published) - len(self._recording.received["label"])

    def _wait_until(self, condition: Callable[[], bool], quiet_s: float | None = None) -> bool:
        """Handle events until the condition holds; give up after `quiet_s` in which no image came or went."""
        self._progress_s = time.monotonic()
        while not condition():
            with contextlib.suppress(queue.Empty):
                self._handle(self._events.get(timeout=0.1))
                continue
            self._check_alive()
            quiet = time.monotonic() - self._progress_s
            if quiet_s is not None and quiet > quiet_s:
                return False
            if self._options.rate is None and self._num_asked and quiet > SILENCE_S:
                self._ask_for_next()  # a bad image has no answer to wait for
        return True

    def _handle(self, event: dict[str, Any]) -> None:
        recording = self._recording
        if event["event"] == "ready":
            self._ready.add(event["source"])
        elif event["event"] == "published":
            recording.published.append(Published(event["index"], event["stamp_ns"], event["publish_ns"]))
            self._note_progress("published", len(recording.published))
        elif event["event"] == "received":
            items = recording.received[event["kind"]]
            items.append(Received(event["receive_ns"], event["offset"], event["size"]))
            if event["kind"] == "label":
                self._note_progress("label", len(items))
                if self._options.rate is None:
                    self._ask_for_next()
        elif event["event"] == "done":
            self._done = True
        elif event["event"] == "failed":
            raise BagError(event["message"])

    def _note_progress(self, kind: str, count: int) -> None:
        self._progress_s = time.monotonic()
        self._progress(kind, count)

    def _ask_for_next(self) -> None:
        """Let the player go on, unless it was already told to."""
        if self._num_asked == len(self._recording.published):
            self._num_asked += 1
            self._player.send("go")

    def _check_alive(self) -> None:
        for child in (self._node, self._collector, self._player):
            if child.exit_code is None:
                continue
            child.stop()
            while not self._events.empty():  # it may have said why
                self._handle(self._events.get())
            raise LiveReplayError(
                f"the {child.name} process ended with exit code {child.exit_code} before the replay was over; "
                f"it said:\n{child.last_words()}"
            )

    def _start(self, name: str, arguments: list[str]) -> Child:
        return self._stack.enter_context(
            Child(name, arguments, environment=self._environment, folder=self._folder, events=self._events)
        )

    def _start_with_config(self, name: str, config: dict[str, Any]) -> Child:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        return self._start(name, ["-m", f"lwseg_ros.replay.live_{name}", str(path)])


def _node_arguments(image_topic: Topic, options: LiveOptions) -> list[str]:
    """Remap the node's input to the recorded topic, and set its parameters."""
    compressed = image_topic.msgtype == COMPRESSED_IMAGE
    remapping = f"image/compressed:={image_topic.name}" if compressed else f"image:={image_topic.name}"
    parameters = {
        "model": str(options.model),
        "backend": options.backend,
        "transport": "compressed" if compressed else "raw",
        **options.parameters,
    }
    arguments = ["--ros-args", "-r", remapping]
    for name, value in parameters.items():
        # JSON is YAML, which is how rcl reads the value: it keeps the type, and quotes a text that looks like a number
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    return arguments
