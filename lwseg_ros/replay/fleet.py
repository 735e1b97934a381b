"""Many bags over many processes: Dask's scheduler gives them out, and again where a worker dies."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lwseg_ros.backends import BackendOptions
from lwseg_ros.errors import LwsegError
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.model.model_file import load_model, resolve_model
from lwseg_ros.model.precisions import split_precision
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.segmenter import Segmenter

CONNECT_TIMEOUT_S = 30
POLL_S = 0.2


@dataclass(frozen=True)
class BagOutcome:
    """What became of a bag: its result, or why there is none, in one line."""

    bag: Path
    result: ReplayResult | None
    error: str = ""


@dataclass(frozen=True)
class Fleet:
    """Where to replay: `num_workers` processes of this machine, or the workers of the Dask scheduler at an address."""

    num_workers: int = 0
    scheduler: str | None = None


def replay_fleet(
    bags: Sequence[Path],
    fleet: Fleet,
    model: str,
    backend: str,
    replay: Callable[[Path, Segmenter], ReplayResult],
    *,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[BagOutcome]:
    """Replay bags, each by one worker, and yield what became of each as soon as it is known.

    A worker that dies costs its bag another try, by another worker; a bag over which several have died is given up. A worker of
    a cluster has to find bag and model under the same paths as this process, and the same lwseg_ros.

    Args:
        model: a path or a shipped model's name, with `:PRECISION` behind it where only one is meant.
        backend: `auto` or the name of one.
        replay: replays one bag; has to travel between processes, as `functools.partial(replay_offline, ...)` does.
        interrupted: asked again and again; once it is true, the bags that are not done are given up, without an outcome.

    Raises:
        LwsegError: Dask is not installed, the scheduler does not answer, or the model cannot be used.
    """
    distributed = _require_distributed()
    name, precision = split_precision(model)
    loaded = load_model(resolve_model(name))
    place = str(loaded.path.resolve()) + ("" if precision == "auto" else f":{precision}")
    with contextlib.ExitStack() as stack:
        client = _connect(distributed, fleet, stack)
        num_threads = max(1, (os.cpu_count() or 1) // fleet.num_workers) if fleet.num_workers else 0
        queued, running = deque(bags), dict[Any, Path]()
        while (queued or running) and not interrupted():
            # not more than can run: a worker that dies is held against every bag that waits for it, too
            while queued and len(running) < max(1, sum(client.nthreads().values())):
                bag = queued.popleft()
                running[client.submit(_replay_bag, replay, bag.resolve(), place, backend, num_threads, pure=False)] = (
                    bag
                )
            with contextlib.suppress(distributed.TimeoutError):  # before Python 3.11 not the built-in one
                distributed.wait(list(running), timeout=POLL_S, return_when="FIRST_COMPLETED")
            for future in [future for future in running if future.done()]:
                yield _outcome(future, running.pop(future), loaded.sha256)


def _replay_bag(
    replay: Callable[[Path, Segmenter], ReplayResult], bag: Path, model: str, backend: str, num_threads: int
) -> tuple[ReplayResult | None, str]:
    """Replay one bag in a worker; an error that names itself comes back as its text, the model's bytes stay here."""
    try:
        with Segmenter.open(model, backend, options=BackendOptions(num_threads=num_threads)) as segmenter:
            result = replay(bag, segmenter)
    except (LwsegError, OSError) as error:
        return None, str(error)
    return replace(result, model=replace(result.model, data=b"")), ""


def _outcome(future: Any, bag: Path, sha256: str) -> BagOutcome:
    try:
        result, error = future.result()
    except Exception as failure:  # of Dask, such as KilledWorker, or of whatever a worker's installation lacks
        return BagOutcome(bag, None, f"{type(failure).__name__}: {str(failure).strip()}".split("\n")[0])
    if result is None:
        return BagOutcome(bag, None, error)
    if sha256 not in (result.model.sha256, result.model.manifest.parent_sha256):
        return BagOutcome(
            bag, None, f"its worker has another file at {result.model.path} (SHA-256 {result.model.sha256})"
        )
    named = tuple(replace(each, path=str(bag)) for each in result.bags)
    return BagOutcome(bag, replace(result, source=str(bag), bags=named))


def _require_distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise LwsegError(
            f"the Python module {error.name} is not installed; `pip install 'lwseg_ros[fleet]'`, or replay without "
            "--workers and --scheduler"
        ) from error
    return distributed


def _connect(distributed: Any, fleet: Fleet, stack: contextlib.ExitStack) -> Any:
    """Open a client of the cluster that was asked for, of which nothing is left once the stack is closed."""
    if fleet.scheduler is not None:
        try:
            client = stack.enter_context(distributed.Client(fleet.scheduler, timeout=CONNECT_TIMEOUT_S))
            client.wait_for_workers(1, timeout=CONNECT_TIMEOUT_S)
        except (OSError, ValueError, distributed.TimeoutError) as error:
            raise LwsegError(
                f"no Dask scheduler with workers answers at {fleet.scheduler!r}; start `dask worker {fleet.scheduler}` where "
                f"lwseg_ros is installed, or give the address that `dask scheduler` prints ({error})"
            ) from error
        return client
    import dask

    folder = stack.enter_context(temporary_folder("lwseg_fleet_"))
    stack.enter_context(dask.config.set({"temporary-directory": str(folder)}))  # the scheduler's, in this process
    with _interrupts_ignored_by_children():
        cluster = distributed.LocalCluster(
            n_workers=fleet.num_workers,
            threads_per_worker=1,
            memory_limit=0,  # what a bag takes does not grow with its length, and Dask would stop workers for it
            dashboard_address=None,
            local_directory=str(folder),
        )
    return stack.enter_context(distributed.Client(stack.enter_context(cluster)))


@contextlib.contextmanager
def _interrupts_ignored_by_children() -> Iterator[None]:
    """Start processes that leave Ctrl-C, which reaches all of a terminal, to this one; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
