"""The `lwseg` command. Subcommands are found through the entry-point group `lwseg.commands`."""

from __future__ import annotations

import argparse
import select
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from lwseg_ros import __version__
from lwseg_ros.errors import LwsegError, RecipeWarning, UsageError
from lwseg_ros.host.terminal import say, stop_printing

VEHICLE_COMMANDS = {
    "bench": "latency and throughput of a model in each runtime",
    "build": "a model's TensorRT engine, ahead of the drive",
    "demo": "the sample clip through the live node, and a report",
    "doctor": "what keeps this machine or its cameras from working, and what helps",
    "evaluate": "figures of a model on a labelled data set",
    "models": "models, their precisions, figures and cards",
    "predict": "label, uncertainty and overlay of images and videos",
    "replay": "a bag through the live node or offline, and a report",
    "report": "judge or compare finished runs",
    "soak": "the live node under load for long",
}
"""What `lwseg_ros` brings, in a few words, since the help imports none of them."""
TRAINING_COMMANDS = {
    "adopt": "a model file of somebody's ONNX network",
    "average": "average the weights of checkpoints",
    "compare": "compare recipes on recordings they never saw",
    "export": "calibrate a checkpoint, and make a model file of it",
    "networks": "the networks that can be trained",
    "pretrain": "train a backbone to classify images",
    "pseudo-label": "label images by a finished network",
    "quantize": "a model file in int8 or fp16",
    "scales": "one network at two scales of the image",
    "table": "train, export and tabulate recipes",
    "train": "train a network as a recipe says",
}
"""What the distribution in training/ brings, named here for those who do not have it."""
_EXTRAS = {"quantize": "quantize"}  # of that distribution, by the commands that need one
_CHECKOUT = {"lwseg_ros": ".", "lwseg_training": "./training"}  # where a package of ours lies in one


class Command(Protocol):
    """What a module behind a `lwseg.commands` entry point offers."""

    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code; may raise LwsegError."""


def installed_commands() -> dict[str, EntryPoint]:
    """Find the subcommands that the installed packages offer, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group="lwseg.commands"), key=lambda e: e.name)}


def usage(commands: Sequence[str]) -> str:
    """List the subcommands without importing any of them."""
    described = VEHICLE_COMMANDS | TRAINING_COMMANDS
    listed = "\n".join(f"  {name:<14}{described.get(name, '')}".rstrip() for name in commands)
    return (
        "usage: lwseg COMMAND [options]\n\n"
        f"Lightweight segmentation for ROS 2, version {__version__}.\n\n"
        f"commands:\n{listed}\n\n"
        "`lwseg COMMAND --help` explains a command and shows an example, such as\n  lwseg demo -o out/demo"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; return 0 on success, 2 for wrong usage, 3 where a requirement is not met, 1 otherwise."""
    try:
        with _warnings_for_users_in_one_line():
            status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError as error:
        if _output_has_no_reader():
            stop_printing()
        else:
            say(f"lwseg: {error}", file=sys.stderr)
        return 1
    return status


def _output_has_no_reader() -> bool:
    """Whether nobody reads the output any more: `head`, for one, has enough some time."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)  # errors are told unasked
    return any(event & select.POLLERR for _, event in poller.poll(0))


@contextmanager
def _warnings_for_users_in_one_line() -> Iterator[None]:
    """Print warnings for users, who correct a file or a command of theirs, without their place in the code."""
    usual = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, (FutureWarning, RecipeWarning)):
            return f"{category.__name__}: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    commands = installed_commands()
    if not arguments or arguments[0] in ("-h", "--help"):
        say(usage(list(commands)))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        say(f"lwseg_ros {__version__}")
        return 0
    name = arguments[0]
    if name not in commands:
        package = f"'./training[{_EXTRAS[name]}]'" if name in _EXTRAS else "./training"
        hint = f"`pip install {package}` (from a checkout) brings it" if name in TRAINING_COMMANDS else ""
        say(f"lwseg: no command {name!r}; {hint or 'there are: ' + ', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        command: Command = commands[name].load()
    except ModuleNotFoundError as error:
        package = commands[name].module.partition(".")[0]
        install = f"`pip install {_CHECKOUT.get(package, package)}`" + " (from a checkout)" * (package in _CHECKOUT)
        say(
            f"lwseg {name}: the Python module {error.name!r} is not installed; {install} brings it",
            file=sys.stderr,
        )
        return 1
    parser = argparse.ArgumentParser(
        prog=f"lwseg {name}",
        description=command.HELP,
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    try:
        args = parser.parse_intermixed_args(arguments[1:])
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return command.run(args)
    except BrokenPipeError:  # is for `main`
        raise
    except (LwsegError, OSError) as error:  # the text of an OSError names the file
        say(f"lwseg {name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        say(f"lwseg {name}: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
