"""The processes of one run in a closed-off ROS environment: start, watch, stop. Needs no ROS itself."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lwseg_ros.errors import ImageError, LwsegError
from lwseg_ros.replay.bag import COMPRESSED_IMAGE, Bag, Topic
from lwseg_ros.replay.live.isolation import write_profiles
from lwseg_ros.replay.live.processes import RMW, Child, Events, missing_middleware, ros_environment
from lwseg_ros.replay.live.topic_names import legal_topic

NODE = "/segment"


class LiveReplayError(LwsegError):
    """A run of the live node did not get to its end; the message holds what the failing process said."""


def require_rclpy(remedy: str = "") -> None:
    """Raise LiveReplayError where rclpy is not installed; `remedy` is what else helps than to install it."""
    if importlib.util.find_spec("rclpy") is None:
        raise LiveReplayError(
            "the Python module rclpy is not installed; source a ROS 2 installation, or `pip install 'lwseg_ros[ros]'`"
            + remedy
        )


class ProcessGroup:
    """The node and the processes around it. A context manager, after which all of them have ended.

    Attributes:
        events: what they tell.
        children: those that were started, by name.
        warnings: what of the environment was changed, as sentences.
    """

    def __init__(self, purpose: str, folder: Path, image_bytes: int) -> None:
        """Prepare the environment.

        Args:
            purpose: what they are started for, such as `replay`, for errors.
            folder: for their configuration and logs.
            image_bytes: what an image takes on its way, see `image_bytes`.
        """
        self.events: Events = Events()
        self.children: dict[str, Child] = {}
        self.warnings: list[str] = []
        self._purpose = purpose
        self._folder = folder
        self._stack = ExitStack()
        profiles = folder / "fastdds_profiles.xml"
        write_profiles(profiles, image_bytes)
        missing = missing_middleware()
        if missing:
            self.warnings.append(
                f"{RMW}={missing} is not installed; the {purpose} took the middleware that ROS chooses"
            )
        self._environment = ros_environment(profiles, ignored=[RMW] if missing else [])

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_node(
        self, image_topic: Topic, model: Path, backend: str, parameters: Mapping[str, str | int | float | bool]
    ) -> None:
        """Start the child `node` with its input remapped to a recorded topic. Like `start`, where interrupts are deferred."""
        arguments = node_arguments(image_topic, {"model": str(model), "backend": backend, **parameters})
        self.start_program("node", ["-m", "lwseg_ros.node", *arguments])

    def start(self, name: str, config: Mapping[str, Any]) -> None:
        """Start the module `lwseg_ros.replay.live.NAME` with its configuration."""
        path = self._folder / f"{name}.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        self.start_program(name, ["-m", f"lwseg_ros.replay.live.{name}", str(path)])

    def start_program(self, name: str, arguments: Sequence[str]) -> None:
        """Start `python ARGUMENTS`, which has to end with its standard input, as a child of that name."""
        self.children[name] = self._stack.enter_context(
            Child(name, arguments, environment=self._environment, folder=self._folder, events=self.events)
        )

    def check_alive(self, handle: Callable[[dict[str, Any]], object]) -> None:
        """Raise LiveReplayError when a process has ended, once `handle` has got what was told before."""
        for child in self.children.values():
            if child.exit_code is None:
                continue
            child.stop()
            while not self.events.empty():  # it may have said why
                handle(self.events.get())
            raise LiveReplayError(
                f"the {child.name} process ended with exit code {child.exit_code} before the {self._purpose} was over; "
                f"it said:\n{child.last_words()}"
            )


def node_arguments(image_topic: Topic, parameters: Mapping[str, str | int | float | bool]) -> list[str]:
    """List the command line of a node that segments a recorded topic and ends with its standard input."""
    compressed = image_topic.msgtype == COMPRESSED_IMAGE
    remapping = f"image{'/compressed' if compressed else ''}:={legal_topic(image_topic.name)}"
    arguments = ["--end-with-input", "--ros-args", "-r", remapping]
    for name, value in {"transport": "compressed" if compressed else "raw", **parameters}.items():
        # JSON is YAML, which is how rcl reads the value: it keeps the type, and quotes a text that looks like a number
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    return arguments


def image_bytes(bag: Bag, image: Topic) -> int:
    """Return how large the messages of an image are: the bag's first one, or the label that answers it."""
    message = next(bag.messages(image))
    try:
        height, width, channels = bag.image(message).shape
    except ImageError:  # the node will count it as bad
        return len(message.raw)
    return max(len(message.raw), height * width * channels)
