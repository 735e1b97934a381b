"""`lwseg doctor`: what this machine has for the node, and the one remedy for each thing that is missing."""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import time
from collections.abc import Iterator
from typing import Any

from lwseg_ros.backends import BACKENDS
from lwseg_ros.commands.arguments import MODEL_HELP, positive_float
from lwseg_ros.host.files import temporary_folder, write_json
from lwseg_ros.host.terminal import say
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.live.processes import Child, Events, interrupts_deferred

HELP = "Look at runtime, ROS, middleware, shared memory and the cameras that publish; say of each OK, or what helps."
EXAMPLE = "lwseg doctor /camera/image_raw"
# Loading a broken driver or runtime may hang.
PATIENCE_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="image topics (default: all that are published)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"{MODEL_HELP} (default: %(default)s)")
    parser.add_argument(
        "--backend", choices=["auto", *BACKENDS], default="auto", help="as the node's parameter (default: %(default)s)"
    )
    parser.add_argument(
        "--wait",
        type=positive_float,
        default=5.0,
        metavar="S",
        help="for topics to appear, and for the first image of each (default: %(default)g)",
    )
    parser.add_argument(
        "--seconds",
        type=positive_float,
        default=3.0,
        metavar="S",
        help="to listen to each camera (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace) -> int:
    """Look and print; 1 where anything has a remedy."""
    config = {
        "model": args.model,
        "backend": args.backend,
        "topics": args.topics,
        "wait_s": args.wait,
        "listen_s": args.seconds,
    }
    found = []
    for finding in findings(config):
        found.append(finding)
        if not args.json:
            say(line(finding))
            sys.stdout.flush()
    faults = sum(bool(finding["remedy"]) for finding in found)
    if args.json:
        say(json.dumps({"ok": not faults, "findings": found}, indent=2))
    else:
        say(f"{faults} of {len(found)} with a remedy" if faults else "all is well")
    return 1 if faults else 0


def line(finding: dict[str, Any]) -> str:
    """Put a finding into a line of text, and its remedy into another."""
    head = f"{'  ' if finding['remedy'] else 'OK'}  {finding['name']:<14}  {finding['found']}"
    return f"{head}\n    {'remedy':<14}  {finding['remedy']}" if finding["remedy"] else head


def findings(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give what the process that looks tells (see `node/findings.py`), and one more where that ends or hangs before it is done."""
    events: Events = queue.SimpleQueue()
    with temporary_folder("lwseg_doctor_") as folder:
        write_json(folder / "config.json", config)
        arguments = ["-m", "lwseg_ros.node.doctor", str(folder / "config.json")]
        with interrupts_deferred():
            child = Child("doctor", arguments, environment=os.environ, folder=folder, events=events)
        with child:
            patience_s = PATIENCE_S + config["wait_s"] + config["listen_s"]
            heard_s = time.monotonic()
            while (left_s := heard_s + patience_s - time.monotonic()) > 0:
                ended = child.exit_code is not None
                try:
                    event = events.get(timeout=min(0.2, left_s))
                except queue.Empty:
                    if ended:
                        break
                    continue
                if event["event"] == "done":
                    return
                heard_s = time.monotonic()
                yield {key: event[key] for key in ("name", "found", "remedy", "values")}
            what = (
                f"hangs for {patience_s:g} s" if child.exit_code is None else f"ended with exit code {child.exit_code}"
            )
            yield {
                "name": "doctor",
                "found": f"the process that looks {what}; it said: {child.last_words().splitlines()[-1]}",
                "remedy": "mend what it names; what stands above is not the cause",
                "values": {},
            }
