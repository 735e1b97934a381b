"""Publish a bag's camera images from a process of their own: `python -m lwseg_ros.replay.live.player CONFIG.json`.

Standard output tells what was published when. Standard input says `go`, and at rate `max` a line for every further frame.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.live.bag_camera import BagCamera, CameraNode, run_camera
from lwseg_ros.replay.live.protocol import Commands, emit

USUAL_PERIOD_NS = 10**8  # until two images have shown their own


class Player(CameraNode):
    """Publish a bag's images, and its camera_info, once."""

    def __init__(self, bag: Bag, config: dict[str, Any], commands: Commands) -> None:
        """Create the publishers; nothing is published yet."""
        super().__init__("lwseg_replay_player")
        self._commands = commands
        self._rate: float | None = config["rate"]
        self._by_stamps = config["pace"] == "stamps"
        self._max_gap_ns: int = config["max_gap_ns"]
        self._camera = BagCamera(self, bag, config["image_topic"])

    def matched(self) -> bool:
        """Tell whether somebody listens to the images."""
        return self._camera.matched()

    def play(self) -> None:
        """Publish every image at its time; raises BagError, and InputEndedError at the end of standard input."""
        start_ns, num_cut = time.monotonic_ns(), 0
        last_ns, played_ns, period_ns = None, 0, USUAL_PERIOD_NS
        for index, (image, info) in enumerate(self._camera.frames()):
            if self._rate is not None:
                time_ns = image.stamp_ns if self._by_stamps else image.log_ns
                if last_ns is not None:
                    # both times have gaps, and jumps where a clock was set or simulated: they are not waited for
                    if 0 < time_ns - last_ns <= self._max_gap_ns:
                        period_ns = time_ns - last_ns
                    else:
                        num_cut += 1
                    played_ns += period_ns
                last_ns = time_ns
                self._commands.sleep((start_ns + played_ns / self._rate - time.monotonic_ns()) / 1e9)
            elif index:
                self._commands.next()
            stamp_ns, publish_ns = self._camera.publish(image, info)
            emit(event="published", index=index, stamp_ns=stamp_ns, publish_ns=publish_ns)
        if num_cut:
            emit(
                event="warning",
                message=f"the {'stamp' if self._by_stamps else 'log time'} of {self._camera.image.name} jumps, back or by "
                f"more than {self._max_gap_ns / 1e9:g} s, or stands still before {num_cut} of its images: they followed at "
                "the usual interval instead",
            )
        emit(event="done")


if __name__ == "__main__":
    sys.exit(run_camera(Player))
