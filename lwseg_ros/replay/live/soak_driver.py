"""Load the node and count its answers: `python -m lwseg_ros.replay.live.soak_driver CONFIG.json`.

Publishes a bag's images round and round from `go` on standard input until `stop`. Standard output tells every second what
was published and what came back, and whatever the diagnostics say. Nothing is kept, so that it can go on for days.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from lwseg_ros.imaging.message_types import load_message_type
from lwseg_ros.replay.bag import IMAGE, Bag
from lwseg_ros.replay.cdr import header_stamp_ns
from lwseg_ros.replay.live.bag_camera import BagCamera, CameraNode, run_camera
from lwseg_ros.replay.live.collector import QOS
from lwseg_ros.replay.live.process_group import NODE
from lwseg_ros.replay.live.protocol import Commands, emit
from lwseg_ros.replay.live.recording import DIAGNOSTICS

ANSWERS = ("label", "uncertainty")
REPORT_PERIOD_S = 1.0
# An answer that comes later than this is counted as unexpected.
FORGET_NS = 60 * 10**9


class SoakDriver(CameraNode):
    """A camera, and subscribers of what the node makes of it. Callbacks run in one thread, publishing in another."""

    def __init__(self, bag: Bag, config: dict[str, Any], commands: Commands) -> None:
        """Create publishers and subscriptions; nothing is published yet. Raises BagError."""
        super().__init__("lwseg_soak_driver")
        self._commands = commands
        self._period_s: float = 1 / config["rate_hz"]
        self._camera = BagCamera(self, bag, config["image_topic"])
        self._frames = itertools.chain.from_iterable(self._camera.frames() for _ in itertools.count())
        self._lock = threading.Lock()
        self._awaited: dict[str, dict[int, int]] = {kind: {} for kind in ANSWERS}  # when it was published, by stamp
        self._counts = dict.fromkeys(("published", *ANSWERS, "unexpected"), 0)
        self._latencies_ms: list[float] = []
        self._publishing = True
        for kind in ANSWERS:
            self.create_subscription(load_message_type(IMAGE), _topic(kind), self._on_answer(kind), QOS, raw=True)
        self.create_subscription(load_message_type(DIAGNOSTICS), "/diagnostics", _on_diagnostics, QOS)
        self.create_timer(REPORT_PERIOD_S, self._report)

    def matched(self) -> bool:
        """Tell whether the node listens and answers."""
        return self._camera.matched() and all(self.count_publishers(_topic(kind)) for kind in ANSWERS)

    def play(self) -> None:
        """Publish at the rate until `stop`; raises BagError, and InputEndedError at the end of standard input."""
        due_s = time.monotonic()
        while self._commands.next(due_s - time.monotonic()) is None:
            self._publish()
            # a camera that was held up does not catch up
            now_s, due_s = time.monotonic(), due_s + self._period_s
            due_s = due_s if due_s > now_s else now_s + self._period_s
        with self._lock:
            self._publishing = False

    def _publish(self) -> None:
        frame = next(self._frames)
        with self._lock:  # the answer may be here before this returns
            stamp_ns, publish_ns = self._camera.publish(*frame)
            self._counts["published"] += 1
            for awaited in self._awaited.values():
                awaited[stamp_ns] = publish_ns
                oldest_ns = next(iter(awaited))
                if publish_ns - awaited[oldest_ns] > FORGET_NS:
                    del awaited[oldest_ns]

    def _on_answer(self, kind: str) -> Callable[[bytes], None]:
        def receive(raw: bytes) -> None:
            receive_ns = time.monotonic_ns()
            with self._lock:
                publish_ns = self._awaited[kind].pop(header_stamp_ns(raw), None)
                self._counts[kind if publish_ns is not None else "unexpected"] += 1
                if kind == "label" and publish_ns is not None:
                    self._latencies_ms.append((receive_ns - publish_ns) / 1e6)

        return receive

    def _report(self) -> None:
        with self._lock:
            emit(event="counts", publishing=self._publishing, latencies_ms=self._latencies_ms, **self._counts)
            self._latencies_ms.clear()


def _topic(kind: str) -> str:
    return f"{NODE}/{kind}"


def _on_diagnostics(message: Any) -> None:
    emit(
        event="diagnostics",
        level=max((ord(status.level) for status in message.status), default=0),
        messages=[status.message for status in message.status if ord(status.level)],
        values={pair.key: pair.value for status in message.status for pair in status.values},
    )


if __name__ == "__main__":
    sys.exit(run_camera(SoakDriver))
