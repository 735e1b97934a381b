"""Whose frames come next, where several cameras wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# So many turns in a row may leave a lower camera waiting; the next one is a lower camera's.
MAX_TURNS_BEFORE_LOWER = 3
# So many turns are kept short after a frame was superseded.
SHORT_TURNS = 100


class Turns:
    """Give turns by priority, so that nobody waits for ever. A turn is one batch.

    The cameras of the highest priority of all have a turn together; so without priorities everybody who waits has it. While
    frames are superseded it is half of them at most (rounded up), those whose last turn was longest ago: in batches of all it
    would be the same cameras again and again of whom two frames come within one.

    The lower ones have turns one at a time, so that the highest wait for one frame at most: the highest of them first, and of
    equal ones the one whose last turn was longest ago. Every fourth turn, where all before left a lower one waiting, is that
    of the lower one whose last was longest ago: so each of n lower cameras waits for 4 n turns at most.
    """

    def __init__(self, cameras: Sequence[str], priority: Callable[[str], int]) -> None:
        """Begin with nobody served; `priority` gives a camera's as it is now."""
        self._queue = list(cameras)  # whose last turn was longest ago first
        self._priority = priority
        self._turns_before_lower = 0
        self._short_turns_left = 0

    def next(self, waiting: Sequence[str], superseded: bool = False) -> list[str]:
        """Choose from the cameras that wait, at least one, those who have the next turn.

        superseded: whether any camera's frame has been since the last turn.
        """
        priorities = {camera: self._priority(camera) for camera in self._queue}
        highest = max(priorities.values())
        first = max(priorities[camera] for camera in waiting)
        lower = [camera for camera in waiting if priorities[camera] < highest]
        self._short_turns_left = SHORT_TURNS if superseded else max(0, self._short_turns_left - 1)
        if lower and self._turns_before_lower >= MAX_TURNS_BEFORE_LOWER:
            chosen = self._longest_ago(lower, 1)
            self._turns_before_lower = 0
        else:
            equals = list(priorities.values()).count(highest)
            most = 1 if first < highest else (equals + 1) // 2 if self._short_turns_left else equals
            chosen = self._longest_ago([camera for camera in waiting if priorities[camera] == first], most)
            self._turns_before_lower = self._turns_before_lower + 1 if set(lower) - set(chosen) else 0
        self._queue.sort(key=chosen.__contains__)  # keeps the order otherwise
        return chosen

    def _longest_ago(self, cameras: Sequence[str], most: int) -> list[str]:
        """Take the cameras, so many at most, whose last turns were longest ago; in the order in which they are given."""
        taken = [camera for camera in self._queue if camera in cameras][:most]
        return [camera for camera in cameras if camera in taken]
