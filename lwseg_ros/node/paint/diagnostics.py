"""The node's state as diagnostic statuses: one for the points, one for every camera."""

from __future__ import annotations

from collections import Counter

from diagnostic_msgs.msg import DiagnosticStatus

from lwseg_ros.node.diagnostics import status
from lwseg_ros.node.paint.worker import CameraCounts
from lwseg_ros.node.statistics import FrameSnapshot


def points_status(
    name: str,
    state: str,
    snapshot: FrameSnapshot,
    previous: FrameSnapshot,
    *,
    topic: str,
    num_publishers: int,
    input_timeout_s: float,
    last_drop: str,
) -> DiagnosticStatus:
    """Report rates, latency from a sweep's arrival to its publication, and the drops by cause; say what is wrong.

    previous: the snapshot of the last report. last_drop: why the last sweep was dropped that was, or empty.
    """
    new = {cause: count - previous.dropped[cause] for cause, count in snapshot.dropped.items()}
    drops = ", ".join(f"{count} {cause}" for cause, count in new.items() if count and cause != "inactive")
    errors: list[str] = []
    warnings: list[str] = []
    if state == "active":
        if snapshot.silence_s > input_timeout_s:
            cause = "though it has a publisher" if num_publishers else "nobody publishes it; check its remapping"
            errors.append(f"no points on {topic} for {snapshot.silence_s:.1f} s: {cause}")
        elif snapshot.unanswered_s > input_timeout_s:
            lately = f"; last: {last_drop}" if last_drop and not drops else ""
            errors.append(f"points come, but none is painted for {snapshot.unanswered_s:.1f} s{lately}")
        if drops:
            (errors if new["error"] or errors else warnings).append(
                f"dropped since the last report: {drops}; last: {last_drop}"
            )
        if snapshot.lost > previous.lost:
            warnings.append(f"{snapshot.lost - previous.lost} sweeps lost on their way; docs/middleware.md tells more")
    values: dict[str, object] = {
        "state": state,
        "topic": topic,
        "publishers": num_publishers,
        "rate_in_hz": snapshot.rate_in_hz,
        "rate_out_hz": snapshot.rate_out_hz,
        "latency_ms_p50": snapshot.latency_p50_ms,
        "latency_ms_p99": snapshot.latency_p99_ms,
        "received": snapshot.received,
        "painted": snapshot.answered,
        **{f"dropped_{cause}": count for cause, count in snapshot.dropped.items()},
        "last_drop": last_drop,
        "lost_in_transport": snapshot.lost,
    }
    return _with_complaints(f"{name}: points", errors, warnings, "painting" if state == "active" else state, values)


def camera_status(
    name: str, camera: str, counts: CameraCounts, previous: Counter[str], bad_images: int
) -> DiagnosticStatus:
    """Report in how many sweeps a camera took part, and why not in the others; previous: those of the last report."""
    missing = Counter(counts.missing)  # at once, as the painting goes on counting
    new = missing - previous
    lately = ", ".join(f"{count} {cause}" for cause, count in new.items())
    warnings = [f"took no part in sweeps since the last report: {lately}; last: {counts.last_reason}"] if new else []
    otherwise = "in order"
    if not counts.used:
        otherwise = "has taken part in no sweep so far"
        if missing and not new:
            warnings.append(f"{otherwise}; last: {counts.last_reason}")
    values: dict[str, object] = {
        "used": counts.used,
        **{f"missing_{cause}": count for cause, count in sorted(missing.items())},
        "bad_images": bad_images,
    }
    return _with_complaints(f"{name}: camera {camera}".rstrip(), [], warnings, otherwise, values)


def _with_complaints(
    name: str, errors: list[str], warnings: list[str], otherwise: str, values: dict[str, object]
) -> DiagnosticStatus:
    level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    return status(level, name, "; ".join([*errors, *warnings]) or otherwise, "none", values)
