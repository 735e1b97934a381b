"""The log of a run, a JSON line an entry, its picture, and where asked for the same for TensorBoard."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from lwseg_ros.errors import RecipeError
from lwseg_ros.host.files import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Entries of a run, in memory and in a file; those past a step can be dropped when the run resumes from before them.

    Args:
        path: of the file.
        events: folder for TensorBoard's event files, which hold every number of the entries from when the log is resumed on.
    """

    def __init__(self, path: Path, events: Path | None = None) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        self._events_folder = events
        self._events: SummaryWriter | None = None

    def resume(self, step: int) -> None:
        """Read the file and keep what was logged up to a step; raises RecipeError where TensorBoard is wanted and not there."""
        if self._events_folder is not None:
            self._events = _event_writer(self._events_folder, step)
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the last line of a run that was killed while writing it
                    continue
                if entry["step"] <= step:
                    self.entries.append(entry)
        write_atomically(self.path, "".join(json.dumps(entry) + "\n" for entry in self.entries).encode())

    def append(self, **entry: Any) -> None:
        """Add an entry, which holds at least ``step``; numbers that are not finite become null, since JSON knows none."""
        entry = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in entry.items()
        }
        self.entries.append(entry)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._events is not None:
            for name, value in _numbers(entry):
                self._events.add_scalar(name, value, entry["step"])
            self._events.flush()

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values of the entries that hold ``name``."""
        pairs = [(entry["step"], entry[name]) for entry in self.entries if entry.get(name) is not None]
        return [step for step, _ in pairs], [value for _, value in pairs]

    def draw(self, path: Path, title: str, figures: Mapping[str, str]) -> None:
        """Draw the learning curves as a picture, PNG or SVG by the path's suffix.

        ``figures``: what to draw of the evaluations, shares in [0, 1], with their names in words; two or fewer.
        """
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
        left.plot(*self.series("loss"), color="tab:blue", linewidth=1)
        left.set(xlabel="step", ylabel="training loss", yscale="log", title=title)
        rate = left.twinx()
        rate.plot(*self.series("lr"), color="tab:gray", linewidth=1, linestyle=":")
        rate.set_ylabel("learning rate (dotted)")
        for (name, words), color in zip(figures.items(), ("tab:orange", "tab:green"), strict=False):
            right.plot(*self.series(name), color=color, marker=".", label=words)
        right.set(xlabel="step", ylim=(0, 1), title="validation")
        right.grid(alpha=0.3)
        right.legend(loc="lower right")
        save_figure(figure, path)


def _event_writer(folder: Path, step: int) -> SummaryWriter:
    """Open a file of events, which hides what earlier ones in the folder have past a step."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"--tensorboard: the Python module {error.name!r} is not installed; `pip install './training[tensorboard]'` "
            "(from a checkout) brings it"
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)


def _numbers(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield an entry's numbers but the step, those of its sections by names such as per_class_iou/car."""
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield prefix + name, value


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, PNG or SVG by the path's suffix, whole or not at all, and close it."""
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.removeprefix("."))
    pyplot.close(figure)
    write_atomically(path, data.getvalue())
