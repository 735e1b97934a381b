"""Several bags in one `lwseg replay`: each one's report as it comes, and one of all together."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from lwseg_ros.commands.replay_common import NUM_EXTREME, NUM_KEPT, Terms, finish, noted
from lwseg_ros.errors import LwsegError
from lwseg_ros.host.terminal import say
from lwseg_ros.replay.fleet import BagOutcome
from lwseg_ros.replay.merging import merge_results, thin_out
from lwseg_ros.replay.report.document import describe
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.results import ReplayResult


def one_after_another(
    bags: Sequence[Path], replay: Callable[[Path], ReplayResult], interrupted: Callable[[], bool]
) -> Iterator[BagOutcome]:
    """Replay bag after bag in this process, and yield what became of each, until interrupted."""
    for bag in bags:
        if interrupted():
            return
        try:
            yield BagOutcome(bag, replay(bag))
        except (LwsegError, OSError) as error:
            yield BagOutcome(bag, None, str(error))


def finish_series(
    outcomes: Iterable[BagOutcome], bags: Sequence[Path], folder: Path, terms: Terms, *, as_json: bool
) -> int:
    """Write a report of each bag as it comes and one of all, and return the exit code: that of `finish`, 1 where a bag is missing.

    Each bag is judged by what is required of all together, but for what is about the comparison, which is of all together.
    """
    folders = dict(zip(bags, report_folders(bags), strict=True))
    required = [requirement for requirement in terms.requirements if not requirement.is_of_comparison]
    places = {bag: place for place, bag in enumerate(bags)}
    done: dict[int, ReplayResult] = {}
    failed: dict[Path, str] = {}
    contents: dict[str, Path] = {}
    for outcome in outcomes:
        bag, result, error = outcome.bag, outcome.result, outcome.error
        if result is not None:
            same = contents.setdefault(result.bags[0].sha256, bag)
            if same == bag:
                done = thin_out(done | {places[bag]: result}, len(bags), NUM_KEPT, NUM_EXTREME)
                report = describe(noted(result), required)
                say(f"{bag}: {write_report(report, folder / folders[bag])}", file=sys.stderr)
                continue
            error = f"it holds the same as {same}, and would count twice; give each recording once"
        failed[bag] = error
        say(f"lwseg replay: {bag} failed: {error}", file=sys.stderr)
    missing = [
        f"{bag} failed and is not in these figures: {failed[bag]}"
        if bag in failed
        else f"interrupted: {bag} was not replayed and is not in these figures"
        for bag in bags
        if places[bag] not in done
    ]
    results = [noted(done[place]) for place in sorted(done)]
    if not results:
        say(f"lwseg replay: none of the {len(bags)} bags was replayed", file=sys.stderr)
        return 1
    whole = merge_results(results, NUM_KEPT, NUM_EXTREME)
    whole = replace(whole, warnings=(*missing, *whole.warnings), partial=whole.partial or bool(missing))
    return finish(whole, folder, terms, as_json=as_json)


def report_folders(bags: Sequence[Path]) -> list[str]:
    """Name a folder for each bag, after it; bags of one name get a number."""
    names: list[str] = []
    for bag in bags:
        stem = bag.resolve().name
        for suffix in (".mcap", ".db3", ".bag"):
            stem = stem.removesuffix(suffix)
        name, numbers = stem, count(2)
        while name in names:
            name = f"{stem}-{next(numbers)}"
        names.append(name)
    return names
