"""Publish a bag's camera images from a process of their own: `python -m lwseg_ros.replay.live.player CONFIG.json`.

Standard output tells what was published when. Standard input says `go`, and at rate `max` a line for every further frame.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from lwseg_ros.errors import BagError
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.bag_camera import SETTLE_S, BagCamera
from lwseg_ros.replay.live.protocol import Commands, InputEndedError, emit, read_config

# A longer pause is not waited for: log time has gaps and jumps when the recorder's clock was set or simulated.
MAX_PAUSE_NS = 10 * 10**9
USUAL_PERIOD_NS = 10**8  # until two images have shown their own


class Player(Node):
    """Publish a bag's images, and its camera_info, once."""

    def __init__(self, bag: Bag, config: dict[str, Any], commands: Commands) -> None:
        """Create the publishers; nothing is published yet."""
        super().__init__("lwseg_replay_player")
        self._commands = commands
        self._rate: float | None = config["rate"]
        self.camera = BagCamera(self, bag, config["image_topic"])

    def play(self) -> None:
        """Publish every image at its time; raises BagError, and InputEndedError at the end of standard input."""
        start_ns, num_jumps = time.monotonic_ns(), 0
        last_log_ns, played_ns, period_ns = None, 0, USUAL_PERIOD_NS
        for index, (image, info) in enumerate(self.camera.frames()):
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
            stamp_ns, publish_ns = self.camera.publish(image, info)
            emit(event="published", index=index, stamp_ns=stamp_ns, publish_ns=publish_ns)
        if num_jumps:
            emit(
                event="warning",
                message=f"the log time of {self.camera.image.name} jumps, back or by more than {MAX_PAUSE_NS / 1e9:g} s, or "
                f"stands still before {num_jumps} of its images: they followed at the usual interval instead",
            )


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
            while not player.camera.matched():
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
