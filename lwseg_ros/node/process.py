"""The process around the node: signals, the executor's thread, and an end in order."""

from __future__ import annotations

import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def spin_until_signal(make_node: Callable[[], Any]) -> int:
    """Run a node until SIGINT or SIGTERM; return 0 then, 1 when it cannot start or a callback fails.

    make_node gives an rclpy node with `autostart() -> bool`, which gets it ready, and `close()`, which ends its threads.
    rclpy's own signal handlers must be off: they pull the context away under those threads. The executor runs in a
    thread, since only the main thread handles signals, and it cannot while it waits in the middleware.
    """
    ends: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()  # the one queue that a signal handler may use
    for number in SIGNALS:
        signal.signal(number, lambda _number, _frame: ends.put(None))
    try:
        node = make_node()
    except (ParameterException, NameValidationException) as error:
        print(f"segment: {error}", file=sys.stderr)
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    done: Future[None] = Future(executor=executor)

    def spin() -> None:
        try:
            executor.spin_until_future_complete(done)
        except BaseException as error:
            ends.put(error)

    thread = threading.Thread(target=spin, name="executor")
    try:
        if not node.autostart():
            return 1
        thread.start()
        failure = ends.get()
        if failure is not None:
            node.get_logger().fatal("".join(traceback.format_exception(failure)))
            return 1
        return 0
    finally:
        done.set_result(None)
        executor.wake()
        if thread.ident is not None:
            thread.join()
        node.close()
        executor.shutdown()
        node.destroy_node()
        for number in SIGNALS:  # one that comes while the interpreter ends would turn exit code 0 into a kill
            signal.signal(number, signal.SIG_IGN)
