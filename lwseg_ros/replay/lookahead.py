"""Two stages of work side by side: the one that asks, and the one that answers in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

DEPTH = 2  # one item in work, one that waits: more takes memory and saves no time


def map_ahead(answer: Callable[[Item], Answer], items: Iterable[Item]) -> Generator[tuple[Item, Answer], None, None]:
    """Yield every item with its answer, in order, while a thread works on the answers to the next `DEPTH` items.

    The items are drawn, and what is yielded is used, in the caller's thread. An error of `answer` is raised at its item's turn.
    Close the generator where it may not be used up: its thread has ended afterwards.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="lwseg ahead") as executor:
        pending: deque[tuple[Item, Future[Answer]]] = deque()
        try:
            for item in items:
                pending.append((item, executor.submit(answer, item)))
                if len(pending) > DEPTH:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            for _, future in pending:
                future.cancel()
