"""How frames lie in each other over time: what tf2's buffer tells, for machines without tf2."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lwseg_ros.errors import TransformError
from lwseg_ros.painting import rigid

HISTORY_NS = 10_000_000_000
# A pose that is so much older than the newest is late, and so many late ones in a row are of a time that began anew, as in a
# bag's next round.
LATE_NS, LATE_POSES = 1_000_000_000, 3


@dataclass
class _Edge:
    """Where a frame lay in its parent, by time; a single pose for all times where it is static."""

    parent: str
    is_static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """Translation [3] and unit quaternion [4] by stamp."""
    num_late: int = 0
    """How many poses in a row were late, up to the last one."""

    def goes_on(self, parent: str, is_static: bool) -> bool:
        """Tell whether a pose belongs to those that are here, rather than taking their place."""
        return not is_static and not self.is_static and parent == self.parent and self.num_late < LATE_POSES


class TransformBuffer:
    """Collect transforms, and tell any between frames that they connect. Safe to use from several threads.

    Between two poses of a frame it is interpolated; before the first and after the last there is none, nor is there of what is
    ten seconds older than the newest, or came when it was more than one second older.
    """

    def __init__(self) -> None:
        """Begin without any frame."""
        self._lock = threading.Lock()
        self._edges: dict[str, _Edge] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: Sequence[float],
        quaternion: Sequence[float],
        *,
        is_static: bool = False,
    ) -> None:
        """Take in where a frame lies in its parent: metres, and x, y, z, w.

        Raises:
            TransformError: the numbers are no rigid motion, or a frame has no name or is its own parent.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        shift, turn = np.array(translation, float), np.array(quaternion, float)
        norm = float(np.linalg.norm(turn))
        if not (np.isfinite(shift).all() and abs(norm - 1) < 0.01):
            raise TransformError(f"the transform from {child!r} to {parent!r} is no motion: {shift}, {turn}")
        if not child or not parent or child == parent:
            raise TransformError(f"a transform from {child!r} to {parent!r} connects no two frames")
        with self._lock:
            edge = self._edges.get(child)
            if edge is not None:
                is_late = stamp_ns < edge.stamps_ns[-1] - LATE_NS
                edge.num_late = edge.num_late + 1 if is_late else 0
            if edge is None or not edge.goes_on(parent, is_static):
                edge = self._edges[child] = _Edge(parent, is_static)
            if edge.num_late:
                return
            if stamp_ns not in edge.poses:
                insort(edge.stamps_ns, stamp_ns)
            edge.poses[stamp_ns] = (shift, turn / norm)
            while edge.stamps_ns[0] < edge.stamps_ns[-1] - HISTORY_NS:
                del edge.poses[edge.stamps_ns.pop(0)]

    def clear(self) -> None:
        """Forget the poses of frames that move, since time begins anew."""
        with self._lock:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.is_static}

    def lookup(self, target: str, target_ns: int, source: str, source_ns: int, fixed: str) -> np.ndarray:
        """Give the motion [4, 4] of points from the source frame at its time to the target frame at its own.

        fixed: the frame in which the world stands still between the two times; with one time it plays no part.

        Raises:
            TransformError: a frame has no name, is not known or not connected, or a time is outside what is known.
        """
        target, source, fixed = (name.lstrip("/") for name in (target, source, fixed))
        if not (target and source):  # two of them need not be the same
            raise TransformError(f"from {source!r} to {target!r} there is no transform: a frame has no name")
        with self._lock:
            if target_ns == source_ns:
                return self._motion(target, source, source_ns)
            return np.asarray(self._motion(target, fixed, target_ns) @ self._motion(fixed, source, source_ns))

    def _motion(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        ups, downs = self._ancestors(source), self._ancestors(target)
        common = next((frame for frame in ups if frame in downs), None)
        if common is None:
            known = ", ".join(sorted({*self._edges, *(edge.parent for edge in self._edges.values())}))
            raise TransformError(f"{source!r} and {target!r} are not connected; known frames: {known or 'none'}")
        from_source = self._climb(ups[: ups.index(common)], stamp_ns)
        from_target = self._climb(downs[: downs.index(common)], stamp_ns)
        return np.asarray(rigid.inverse(from_target) @ from_source)

    def _ancestors(self, frame: str) -> list[str]:
        """List a frame, its parent, and so on."""
        found = [frame]
        while (edge := self._edges.get(found[-1])) is not None:
            if edge.parent in found:
                raise TransformError(f"the frames {', '.join(found)} are in a circle")
            found.append(edge.parent)
        return found

    def _climb(self, frames: list[str], stamp_ns: int) -> np.ndarray:
        motion = np.eye(4)
        for frame in frames:
            motion = self._pose(frame, stamp_ns) @ motion
        return motion

    def _pose(self, frame: str, stamp_ns: int) -> np.ndarray:
        edge = self._edges[frame]
        if edge.is_static:
            return rigid.matrix(*edge.poses[edge.stamps_ns[0]])
        later = bisect_left(edge.stamps_ns, stamp_ns)
        if later < len(edge.stamps_ns) and edge.stamps_ns[later] == stamp_ns:
            return rigid.matrix(*edge.poses[stamp_ns])
        if not 0 < later < len(edge.stamps_ns):
            end_ns = edge.stamps_ns[min(later, len(edge.stamps_ns) - 1)]
            where = f"{abs(stamp_ns - end_ns) / 1e6:.0f} ms {'before the first' if later == 0 else 'after the last'}"
            raise TransformError(f"where {frame!r} lies in {edge.parent!r} is asked for {where} that is known")
        first, second = edge.stamps_ns[later - 1 : later + 1]
        share = (stamp_ns - first) / (second - first)
        (shift, turn), (next_shift, next_turn) = edge.poses[first], edge.poses[second]
        return rigid.matrix(shift + share * (next_shift - shift), rigid.slerp(turn, next_turn, share))
