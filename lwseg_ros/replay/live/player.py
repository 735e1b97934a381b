"""Publish a bag's camera images from a process of their own: `python -m lwseg_ros.replay.live.player CONFIG.json`.

Messages go out as the bytes that the bag holds, decoded by nobody; only the stamp in their header is set to the time of
publishing, as a camera driver does, so that ages and latencies mean what they mean on a vehicle. Standard output tells
what was published when. Standard input says `go`, and at rate `max` a line for every further frame.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from lwseg_ros.errors import BagError
from lwseg_ros.replay.bag import Bag, BagMessage
from lwseg_ros.replay.cdr import with_stamp_ns
from lwseg_ros.replay.live.protocol import Commands, InputEndedError, emit, load_message_type, read_config
from lwseg_ros.replay.live.topic_names import legal_topic

# DDS tells both ends of a match one after the other; what is published in between reaches nobody.
SETTLE_S = 0.5
# A longer pause is not waited for: log time has gaps and jumps when the recorder's clock was set or simulated.
MAX_PAUSE_NS = 10 * 10**9
USUAL_PERIOD_NS = 10**8  # until two images have shown their own


class Player(Node):
    """Publishers of a bag's image topic and, where the bag has one, of its camera_info."""

    def __init__(self, bag: Bag, config: dict[str, Any], commands: Commands) -> None:
        """Create the publishers; nothing is published yet."""
        super().__init__("lwseg_replay_player")
        self._commands = commands
        self._bag = bag
        self._image = bag.image_topic(config["image_topic"])
        self._info = bag.camera_info_topic(self._image)
        self._rate: float | None = config["rate"]
        self._image_publisher = self._publisher(self._image.name, self._image.msgtype)
        self._info_publisher = self._publisher(self._info.name, self._info.msgtype) if self._info else None

    def matched(self) -> bool:
        """Tell whether somebody listens to the images."""
        return bool(self._image_publisher.get_subscription_count())

    def play(self) -> None:
        """Publish every image at its time; raises BagError, and InputEndedError at the end of standard input."""
        start_ns, last_stamp_ns, num_jumps = time.monotonic_ns(), 0, 0
        last_log_ns, played_ns, period_ns = None, 0, USUAL_PERIOD_NS
        for index, (image, info) in enumerate(self._frames()):
            if self._rate is not None:
                if last_log_ns is not None:
                    if 0 < image.log_ns - last_log_ns <= MAX_PAUSE_NS:
                        period_ns = image.log_ns - last_log_ns
                    else:
                        num_jumps += 1
                    played_ns += period_ns
                last_log_ns = image.log_ns
                self._commands.sleep((start_ns + played_ns / self._rate - time.monotonic_ns()) / 1e9)
            elif index:
                self._commands.next()
            # stamps identify the answers, so no two may be equal
            stamp_ns = last_stamp_ns = max(time.time_ns(), last_stamp_ns + 1)
            if info is not None and self._info_publisher is not None:
                self._info_publisher.publish(with_stamp_ns(info.raw, stamp_ns))
            raw = with_stamp_ns(image.raw, stamp_ns)
            publish_ns = time.monotonic_ns()
            self._image_publisher.publish(raw)
            emit(event="published", index=index, stamp_ns=stamp_ns, publish_ns=publish_ns)
        if num_jumps:
            emit(
                event="warning",
                message=f"the log time of {self._image.name} jumps, back or by more than {MAX_PAUSE_NS / 1e9:g} s, or "
                f"stands still before {num_jumps} of its images: they followed at the usual interval instead",
            )

    def _frames(self) -> Iterator[tuple[BagMessage, BagMessage | None]]:
        """Yield every image with the latest camera_info before it."""
        info = None
        for message in self._bag.messages(*filter(None, (self._image, self._info))):
            if message.topic == self._image.name:
                yield message, info
            else:
                info = message

    def _publisher(self, name: str, msgtype: str) -> Any:
        return self.create_publisher(load_message_type(msgtype), legal_topic(name), qos_profile_sensor_data)


def main() -> int:
    """Wait for a match and for `go`, play, and wait for the end of standard input."""
    config = read_config()
    rclpy.init(args=[])
    commands = Commands()
    executor = SingleThreadedExecutor()
    spinner = threading.Thread(target=executor.spin, daemon=True)
    try:
        with Bag(config["bag"]) as bag, contextlib.suppress(InputEndedError):
            player = Player(bag, config, commands)
            executor.add_node(player)
            spinner.start()
            while not player.matched():
                commands.sleep(0.02)
            commands.sleep(SETTLE_S)
            emit(event="ready")
            commands.next()
            player.play()
            emit(event="done")
            while True:  # leaving at once could take the last image along
                commands.next()
    except BagError as error:
        emit(event="failed", message=str(error))
        return 1
    finally:
        executor.shutdown()
        if spinner.is_alive():
            spinner.join(timeout=5.0)
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
