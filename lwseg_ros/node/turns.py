"""Whose frames come next, where several cameras wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# So many turns in a row may leave a lower camera waiting; the next one is a lower camera's.
MAX_TURNS_BEFORE_LOWER = 3


class Turns:
    """Give turns by priority, so that nobody waits for ever. A turn is one batch.

    The cameras of the highest priority of all have a turn together; so without priorities everybody who waits has it. The
    lower ones have turns one at a time, so that the highest wait for one frame at most: the highest of them first, and of
    equal ones the one whose last turn was longest ago. Every fourth turn, where all before left a lower one waiting, is that
    of the lower one whose last was longest ago: so each of n lower cameras waits for 4 n turns at most.
    """

    def __init__(self, cameras: Sequence[str], priority: Callable[[str], int]) -> None:
        """Begin with nobody served; `priority` gives a camera's as it is now."""
        self._cameras = tuple(cameras)
        self._priority = priority
        self._count = 0
        self._last_turn = dict.fromkeys(self._cameras, 0)
        self._turns_before_lower = 0

    def next(self, waiting: Sequence[str]) -> list[str]:
        """Choose from the cameras that wait, at least one, those who have the next turn."""
        priorities = {camera: self._priority(camera) for camera in self._cameras}
        highest = max(priorities.values())
        first = max(priorities[camera] for camera in waiting)
        lower = [camera for camera in waiting if priorities[camera] < highest]
        if lower and self._turns_before_lower >= MAX_TURNS_BEFORE_LOWER:
            chosen = [self._longest_ago(lower)]
            self._turns_before_lower = 0
        else:
            chosen = [camera for camera in waiting if priorities[camera] == first]
            if first < highest:
                chosen = [self._longest_ago(chosen)]
            self._turns_before_lower = self._turns_before_lower + 1 if set(lower) - set(chosen) else 0
        self._count += 1
        self._last_turn.update(dict.fromkeys(chosen, self._count))
        return chosen

    def _longest_ago(self, cameras: Sequence[str]) -> str:
        return min(cameras, key=self._last_turn.__getitem__)
