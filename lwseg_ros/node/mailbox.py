"""The newest frame of each camera, handed from the receiving thread to the segmenting one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hold at most one item a camera; a newer one takes the place of an older one that nobody has taken.

    So a slow consumer always works on the newest input, and its delay cannot grow.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        choose: Callable[[Sequence[str], bool], Sequence[str]] = lambda waiting, replaced: waiting,
    ) -> None:
        """Begin empty.

        choose: picks those to be taken, at least one, from the cameras that wait, by default all; it is also told whether an
        item was replaced since the last were taken.
        """
        self._cameras = tuple(cameras)
        self._choose = choose
        self._replaced = False
        self._waiting: dict[str, Item] = {}
        self._changed = threading.Condition()
        self._closed = False

    def put(self, camera: str, item: Item) -> Item | None:
        """Leave an item; return the one that it replaces, or the item itself when the mailbox is closed."""
        with self._changed:
            if self._closed:
                return item
            replaced = self._waiting.get(camera)
            self._replaced |= replaced is not None
            self._waiting[camera] = item
            self._changed.notify()
            return replaced

    def take(self, *, wait: bool = True) -> dict[str, Item]:
        """Wait for an item, then take those of the chosen cameras at once; nothing once it is closed.

        wait: False takes of what is there, which may be nothing.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._waiting or self._closed)
            waiting = [camera for camera in self._cameras if camera in self._waiting]
            chosen = self._choose(waiting, self._replaced) if waiting else ()
            self._replaced = False
            return {camera: self._waiting.pop(camera) for camera in chosen}

    def close(self) -> dict[str, Item]:
        """Wake whoever waits, accept nothing more, and return what nobody took."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, {}
            self._changed.notify_all()
            return left
