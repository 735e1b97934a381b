"""One run of the three processes of a live replay: start, watch, stop. Needs no ROS itself."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwseg_ros.errors import BagError
from lwseg_ros.replay.bag import IMAGE, Topic
from lwseg_ros.replay.live.process_group import NODE, LiveReplayError, ProcessGroup
from lwseg_ros.replay.live.processes import interrupts_deferred
from lwseg_ros.replay.live.recording import DIAGNOSTICS, LiveRecording, Published, Received, SpoolError
from lwseg_ros.replay.live.topic_names import legal_topic

# The node's message for durations: that of the Autoware ecosystem where it is installed.
DURATION_TYPES = (
    "autoware_internal_debug_msgs/msg/Float64Stamped",
    "tier4_debug_msgs/msg/Float64Stamped",
    "std_msgs/msg/Float64",
)
# No answer for this long after the last image means that the missing ones will not come.
SILENCE_S = 5.0
READY = {"node", "collector", "player"}


@dataclass(frozen=True)
class LiveOptions:
    """How to replay.

    Attributes:
        model: path of the model file.
        backend: `auto` or the name of one.
        rate: factor on the recorded rate; None sends the next image when the previous one is answered.
        pace: what the images follow, `stamps` of their headers or times of the `log`.
        max_gap_s: a longer gap between two images is cut to the interval before it.
        spool: the folder in which the node's answers lie until they are evaluated; None takes the system's for temporary files.
        startup_timeout_s: until the node answers on the network; building a TensorRT engine may take minutes.
        parameters: further parameters of the node.
    """

    model: Path
    backend: str = "auto"
    rate: float | None = 1.0
    pace: str = "log"
    max_gap_s: float = 10.0
    spool: Path | None = None
    startup_timeout_s: float = 600.0
    parameters: dict[str, str | int | float | bool] = field(default_factory=dict)


class LiveSession:
    """The node, the player and the collector of one replay."""

    def __init__(
        self,
        bag: Path,
        image_topic: Topic,
        image_bytes: int,
        options: LiveOptions,
        folder: Path,
        recording: LiveRecording,
        on_event: Callable[[str, int], object],
        interrupted: Callable[[], bool],
    ) -> None:
        """Prepare; an image takes so many bytes on its way, and the folder is for the processes' configuration and logs."""
        self._interrupted = interrupted
        self._bag = bag
        self._image_topic = image_topic
        self._options = options
        self._recording = recording
        self._on_event = on_event
        self._group = ProcessGroup("replay", folder, image_bytes)
        self._ready: set[str] = set()
        self._done = False
        self._num_asked = 0
        self._num_dropped = 0  # by the node, for whatever reason
        self._num_lost = 0  # on their way, as far as one can tell
        self._progress_s = 0.0

    def run(self) -> list[str]:
        """Start all, wait until they are ready, play, and wait until every frame is answered or known to be dropped.

        Where it is interrupted while it plays, what was published by then is what was played. Whatever happens, all
        processes have ended afterwards.

        Returns:
            What was played otherwise than it was recorded, as sentences.

        Raises:
            LiveReplayError: a process died, or the node did not get ready.
            BagError: the bag cannot be read to its end.
            SpoolError: the disk is full.
            KeyboardInterrupt: interrupted before any label came.
        """
        name, played_name = self._image_topic.name, legal_topic(self._image_topic.name)
        if played_name != name:
            self._group.warnings.append(f"{name} was played as {played_name}: ROS 2 does not allow the recorded name")
        with self._group:
            with interrupts_deferred():
                self._start_all()
            if not self._wait_until(
                lambda: self._ready >= READY or self._interrupted(), self._options.startup_timeout_s
            ):
                missing = ", ".join(sorted(READY - self._ready))
                raise LiveReplayError(
                    f"not ready within {self._options.startup_timeout_s:g} s: {missing}. The node said:\n"
                    + self._group.children["node"].last_words()
                )
            if self._interrupted():
                raise KeyboardInterrupt
            self._num_asked = 1
            self._group.children["player"].send("go")
            self._wait_until(lambda: self._done or self._interrupted())
            num_played = len(
                self._recording.published
            )  # answers come in order, so what is published later disturbs none
            # a frame that the node neither answered nor counted as dropped was lost on its way
            self._wait_until(lambda: self._num_settled() >= num_played, SILENCE_S)
            del self._recording.published[num_played:]
        if self._interrupted() and not self._recording.received["label"]:
            raise KeyboardInterrupt
        return self._group.warnings

    def _start_all(self) -> None:
        options = self._options
        self._group.start_node(self._image_topic, options.model, options.backend, options.parameters)
        topics = [
            {"kind": "label", "name": f"{NODE}/label", "msgtypes": [IMAGE]},
            {"kind": "uncertainty", "name": f"{NODE}/uncertainty", "msgtypes": [IMAGE]},
            {"kind": "inference_time", "name": f"{NODE}/debug/engine_time_ms", "msgtypes": DURATION_TYPES},
            {"kind": "diagnostics", "name": "/diagnostics", "msgtypes": [DIAGNOSTICS]},
        ]
        self._group.start("collector", {"spool": str(self._recording.spool), "topics": topics})
        config = {
            "bag": str(self._bag),
            "image_topic": self._image_topic.name,
            "rate": options.rate,
            "pace": options.pace,
            "max_gap_ns": round(options.max_gap_s * 1e9),
        }
        self._group.start("player", config)

    def _num_settled(self) -> int:
        received = self._recording.received
        num_complete = min(len(received[kind]) for kind in ("label", "uncertainty", "inference_time"))
        return num_complete + self._num_dropped

    def _wait_until(self, condition: Callable[[], bool], quiet_s: float | None = None) -> bool:
        """Handle events until the condition holds; give up after `quiet_s` in which no image came or went."""
        self._progress_s = time.monotonic()
        next_check_s = 0.0
        while not condition():
            with contextlib.suppress(queue.Empty):
                self._handle(self._group.events.get(timeout=0.1))
            now_s = time.monotonic()
            if now_s < next_check_s:
                continue
            next_check_s = now_s + 0.1
            self._group.check_alive(self._handle)
            if quiet_s is not None and now_s - self._progress_s > quiet_s:
                return False
            if self._num_asked and now_s - self._progress_s > SILENCE_S and self._is_waiting():
                self._num_lost += 1
                self._go_on()
        return True

    def _handle(self, event: dict[str, Any]) -> None:
        recording = self._recording
        if event["event"] == "ready":
            self._ready.add(event["source"])
        elif event["event"] == "published":
            recording.published.append(Published(event["index"], event["stamp_ns"], event["publish_ns"]))
            self._note_progress("published", len(recording.published))
        elif event["event"] == "received":
            item = Received(event["receive_ns"], event["offset"], event["size"])
            recording.received[event["kind"]].append(item)
            if event["kind"] == "label":
                self._note_progress("label", len(recording.received["label"]))
            elif event["kind"] == "diagnostics":
                self._read_diagnostics(item)
        elif event["event"] == "done":
            self._done = True
        elif event["event"] == "warning":
            self._group.warnings.append(event["message"])
        elif event["event"] == "disk full":
            raise SpoolError(
                f"the node's answers cannot be written to {self._recording.spool}: {event['message']}; name a larger folder with "
                "--spool"
            )
        elif event["event"] == "failed":
            raise BagError(event["message"])

    def _read_diagnostics(self, item: Received) -> None:
        values = self._recording.diagnostics(item)
        if values.get("state") == "active":
            self._ready.add("node")
        num_dropped = sum(int(value) for key, value in values.items() if key.startswith("dropped_"))
        if num_dropped > self._num_dropped:
            self._num_dropped = num_dropped
            self._go_on()

    def _note_progress(self, kind: str, count: int) -> None:
        self._progress_s = time.monotonic()
        self._on_event(kind, count)
        self._go_on()

    def _is_waiting(self) -> bool:
        """Tell whether the player waits for the answer to the image that it published last."""
        return self._options.rate is None and not self._done and self._num_asked == len(self._recording.published)

    def _go_on(self) -> None:
        """At rate `max`, let the player publish the next image once every one before is answered, dropped or lost."""
        num_settled = len(self._recording.received["label"]) + self._num_dropped + self._num_lost
        if self._is_waiting() and num_settled >= self._num_asked:
            self._num_asked += 1
            self._group.children["player"].send("go")
