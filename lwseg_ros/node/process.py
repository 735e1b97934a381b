"""The process around one or several nodes: their thread, the signals that end it, and an end that comes whatever hangs."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

from lwseg_ros.node.log_records import log_records_in_ros
from lwseg_ros.node.overrides import warn_of_unknown_parameters
from lwseg_ros.node.signals import ignore_signals

# A process manager or an operator waits five.
END_TIMEOUT_S = 4.0
# What reads our output may have stopped, and the pipe be full.
LAST_WORDS_TIMEOUT_S = 0.5


class ProcessEnd(Exception):  # noqa: N818  an end, not an error
    """Raised by a node's callback to end the process with an exit code."""

    def __init__(self, exit_code: int, reason: str) -> None:
        """Keep the exit code; the reason is logged."""
        super().__init__(reason)
        self.exit_code = exit_code


def spin_until_signal(
    make_nodes: Sequence[Callable[[], Any]], exit_codes: queue.SimpleQueue[int], program: str = "segment"
) -> int:
    """Run nodes in one executor until a signal, and return the exit code.

    Each of make_nodes gives an rclpy node with `autostart() -> bool`, which gets it ready, `interrupt()`, which tells it, from
    another thread, to give up what takes long, and `close() -> bool`, which ends its threads and returns False where one hangs;
    they are closed in the reverse order.
    exit_codes is what `queue_signals` returned: 0 is put there by a signal, here 1 when a node cannot start or a callback
    fails, and the exit code of a `ProcessEnd`. program: what begins the lines on standard error. The nodes live in a thread,
    since only the main thread handles signals, and it cannot while it waits in the middleware; rclpy's own handlers must be
    off: they pull the context away under that thread.

    What has not ended END_TIMEOUT_S after that, such as an inference that does not return, is not waited for: then this
    ends the process itself and does not return.
    """
    executor = SingleThreadedExecutor()
    done: Future[None] = Future(executor=executor)

    hangs = True
    nodes: list[Any] = []

    def live() -> None:
        nonlocal hangs
        try:
            for make_node in make_nodes:
                nodes.append(make_node())
        except Exception as error:
            exit_codes.put(
                1
            )  # first, here and below: nobody may read the text, and then writing it fails or never returns
            wrong = isinstance(error, (ParameterException, NameValidationException))
            print(f"{program}: {error if wrong else traceback.format_exc()}", file=sys.stderr)
            hangs = False
            return
        log = nodes[0].get_logger()
        with log_records_in_ros(log):
            try:
                warn_of_unknown_parameters(nodes)
                for node in nodes:
                    executor.add_node(node)
                if all(node.autostart() for node in nodes):
                    executor.spin_until_future_complete(done)
                else:
                    exit_codes.put(1)
            except ProcessEnd as end:
                exit_codes.put(end.exit_code)
                log.fatal(str(end))
            except Exception:
                exit_codes.put(1)
                log.fatal(traceback.format_exc())
            finally:
                ended = [node.close() for node in reversed(nodes)]
                for node in nodes:
                    executor.remove_node(node)
                    node.destroy_node()
                hangs = not all(ended)

    thread = threading.Thread(target=live, name="node", daemon=True)
    thread.start()
    exit_code = exit_codes.get()
    for node in nodes:
        node.interrupt()
    done.set_result(None)
    executor.wake()
    thread.join(END_TIMEOUT_S)
    ignore_signals()
    if hangs:  # the interpreter's own end would wait for it, or take memory away under it
        last_words = threading.Thread(target=_say_what_hangs, args=(program,), daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS_TIMEOUT_S)
        os._exit(exit_code)
    executor.shutdown()
    return exit_code


def _say_what_hangs(program: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a pipe whose reader is gone; a closed stream
        print(f"{program}: ends without waiting for what hangs", file=sys.stderr, flush=True)
        print(end="", flush=True)
