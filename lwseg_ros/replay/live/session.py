"""One run of the three processes of a live replay: start, watch, stop. Needs no ROS itself."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lwseg_ros.errors import BagError, LwsegError
from lwseg_ros.replay.bag import COMPRESSED_IMAGE, IMAGE, Topic
from lwseg_ros.replay.live.isolation import write_profiles
from lwseg_ros.replay.live.processes import RMW, Child, Events, interrupts_deferred, missing_middleware, ros_environment
from lwseg_ros.replay.live.recording import DIAGNOSTICS, LiveRecording, Published, Received
from lwseg_ros.replay.live.topic_names import legal_topic

NODE = "/segment"
# The node's message for durations: that of the Autoware ecosystem where it is installed.
DURATION_TYPES = (
    "autoware_internal_debug_msgs/msg/Float64Stamped",
    "tier4_debug_msgs/msg/Float64Stamped",
    "std_msgs/msg/Float64",
)
# No answer for this long after the last image means that the missing ones will not come.
SILENCE_S = 5.0
READY = {"node", "collector", "player"}


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
    ) -> None:
        """Prepare; an image takes so many bytes on its way, and the folder is for the processes' configuration and logs."""
        self._bag = bag
        self._image_topic = image_topic
        self._options = options
        self._folder = folder
        self._recording = recording
        self._on_event = on_event
        self._events: Events = Events()
        profiles = folder / "fastdds_profiles.xml"
        write_profiles(profiles, image_bytes)
        missing = missing_middleware()
        self._environment = ros_environment(profiles, ignored=[RMW] if missing else [])
        self._children: dict[str, Child] = {}
        self._ready: set[str] = set()
        self._done = False
        self._num_asked = 0
        self._num_dropped = 0  # by the node, for whatever reason
        self._num_lost = 0  # on their way, as far as one can tell
        self._progress_s = 0.0
        self._warnings: list[str] = []
        if missing:
            self._warnings.append(f"{RMW}={missing} is not installed; the replay took the middleware that ROS chooses")

    def run(self) -> list[str]:
        """Start all, wait until they are ready, play, and wait until every frame is answered or known to be dropped.

        Whatever happens, all processes have ended afterwards.

        Returns:
            What was played otherwise than it was recorded, as sentences.

        Raises:
            LiveReplayError: a process died, or the node did not get ready.
            BagError: the bag cannot be read to its end.
        """
        name, played_name = self._image_topic.name, legal_topic(self._image_topic.name)
        if played_name != name:
            self._warnings.append(f"{name} was played as {played_name}: ROS 2 does not allow the recorded name")
        with ExitStack() as stack:
            with interrupts_deferred():
                self._start_all(stack)
            if not self._wait_until(lambda: self._ready >= READY, self._options.startup_timeout_s):
                missing = ", ".join(sorted(READY - self._ready))
                raise LiveReplayError(
                    f"not ready within {self._options.startup_timeout_s:g} s: {missing}. The node said:\n"
                    + self._children["node"].last_words()
                )
            self._num_asked = 1
            self._children["player"].send("go")
            self._wait_until(lambda: self._done)
            # a frame that the node neither answered nor counted as dropped was lost on its way
            self._wait_until(self._all_settled, SILENCE_S)
        return self._warnings

    def _start_all(self, stack: ExitStack) -> None:
        self._start(stack, "node", ["-m", "lwseg_ros.node", *_node_arguments(self._image_topic, self._options)])
        topics = [
            {"kind": "label", "name": f"{NODE}/label", "msgtypes": [IMAGE]},
            {"kind": "uncertainty", "name": f"{NODE}/uncertainty", "msgtypes": [IMAGE]},
            {"kind": "inference_time", "name": f"{NODE}/debug/engine_time_ms", "msgtypes": DURATION_TYPES},
            {"kind": "diagnostics", "name": "/diagnostics", "msgtypes": [DIAGNOSTICS]},
        ]
        self._start_with_config(stack, "collector", {"spool": str(self._recording.spool), "topics": topics})
        config = {"bag": str(self._bag), "image_topic": self._image_topic.name, "rate": self._options.rate}
        self._start_with_config(stack, "player", config)

    def _all_settled(self) -> bool:
        received = self._recording.received
        num_complete = min(len(received[kind]) for kind in ("label", "uncertainty", "inference_time"))
        return num_complete + self._num_dropped >= len(self._recording.published)

    def _wait_until(self, condition: Callable[[], bool], quiet_s: float | None = None) -> bool:
        """Handle events until the condition holds; give up after `quiet_s` in which no image came or went."""
        self._progress_s = time.monotonic()
        next_check_s = 0.0
        while not condition():
            with contextlib.suppress(queue.Empty):
                self._handle(self._events.get(timeout=0.1))
            now_s = time.monotonic()
            if now_s < next_check_s:
                continue
            next_check_s = now_s + 0.1
            self._check_alive()
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
            self._warnings.append(event["message"])
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
            self._children["player"].send("go")

    def _check_alive(self) -> None:
        for child in self._children.values():
            if child.exit_code is None:
                continue
            child.stop()
            while not self._events.empty():  # it may have said why
                self._handle(self._events.get())
            raise LiveReplayError(
                f"the {child.name} process ended with exit code {child.exit_code} before the replay was over; "
                f"it said:\n{child.last_words()}"
            )

    def _start(self, stack: ExitStack, name: str, arguments: list[str]) -> None:
        self._children[name] = stack.enter_context(
            Child(name, arguments, environment=self._environment, folder=self._folder, events=self._events)
        )

    def _start_with_config(self, stack: ExitStack, name: str, config: dict[str, Any]) -> None:
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        self._start(stack, name, ["-m", f"lwseg_ros.replay.live.{name}", str(path)])


def _node_arguments(image_topic: Topic, options: LiveOptions) -> list[str]:
    """Remap the node's input to the recorded topic, and set its parameters."""
    compressed = image_topic.msgtype == COMPRESSED_IMAGE
    remapping = f"image{'/compressed' if compressed else ''}:={legal_topic(image_topic.name)}"
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
