"""The node's state as diagnostic statuses: one for inference, one for every camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from lwseg_ros.evaluation.drift import FrameFigures, unusual
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.acceptance import Range
from lwseg_ros.node.frame import StampClock
from lwseg_ros.node.statistics import FrameSnapshot
from lwseg_ros.node.worker import Timing
from lwseg_ros.segmenter import Segmenter

STAMP_REMEDY = "synchronise the camera (PTP, NTP) or let its driver take the host's time"


@dataclass(frozen=True)
class InputState:
    """What the middleware knows about a camera's topic."""

    topic: str
    message_type: str
    """The type that we subscribe, such as sensor_msgs/msg/Image."""
    publisher_types: tuple[str, ...] = ()
    """The type of every publisher on the topic."""
    incompatible_qos: str = ""
    """The QoS policy in which a publisher does not fit, or empty."""
    reliability: str = ""
    """The subscription's, reliable or best_effort."""
    reliability_reason: str = ""
    all_reliable: bool = False
    """Whether every publisher offers reliable."""
    info_topic: str = ""
    """The topic of the calibration."""
    calibration: str = ""
    """What has come on it, in words."""


def inference_status(
    name: str,
    state: str,
    segmenter: Segmenter | None,
    timings: Sequence[Timing],
    errors: int,
    hardware_id: str,
    trouble: str = "",
    building: str = "",
) -> DiagnosticStatus:
    """Report the lifecycle state, the model, the backend and its times.

    errors: frames that failed since the last report. trouble: what keeps the node from segmenting at all, or empty.
    building: how far an engine is that is being built, or empty.
    """
    values: dict[str, object] = {"state": state}
    level, complaints = DiagnosticStatus.OK, []
    if segmenter is not None:
        backend, choice = segmenter.backend, segmenter.choice
        inference_ms = percentiles([timing.inference_ms for timing in timings], (50, 99))
        processing_ms = percentiles([timing.processing_ms for timing in timings], (50, 99))
        values |= {
            "model": str(segmenter.model.path),
            "model_sha256": segmenter.model.sha256,
            "network": segmenter.manifest.network,
            "backend": backend.name,
            "backend_version": backend.library_version,
            "device": backend.device,
            "precision": backend.precision,
            "backend_reason": choice.reason,
            "fallback_reason": choice.fallback_reason or "",
            **{f"engine_ms_{rank}": value for rank, value in inference_ms.items()},
            **{f"processing_ms_{rank}": value for rank, value in processing_ms.items()},
        }
        if choice.fallback_reason:
            level = DiagnosticStatus.WARN
            complaints.append(f"on {backend.name} as a fallback: {choice.fallback_reason}")
    if building:
        level = DiagnosticStatus.WARN
        complaints.append(f"{building}; nothing is segmented until it is done")
    if errors:
        level = DiagnosticStatus.ERROR
        complaints.insert(0, f"{errors} frames failed since the last report")
    if trouble:
        level = DiagnosticStatus.ERROR
        complaints.insert(0, trouble)
    message = ", ".join(filter(None, (state, "; ".join(complaints))))
    return status(level, f"{name}: inference", message, hardware_id, values)


def camera_status(
    name: str,
    camera: str,
    snapshot: FrameSnapshot,
    previous: FrameSnapshot,
    source: InputState,
    *,
    stamp_clock: StampClock,
    active: bool,
    input_timeout_s: float,
    hardware_id: str,
    camera_info_fault: str = "",
    lately: FrameFigures | None = None,
    normal: Mapping[str, Range] = MappingProxyType({}),
) -> DiagnosticStatus:
    """Report one camera's rates, latency and drops, and say what is wrong with its input.

    camera_info_fault: why its calibration is not published, or empty. lately: what it has seen over a window, None where that is
    too little to tell. normal: what the model says that should be.
    """
    errors, warnings = _complaints(snapshot, previous, source, stamp_clock, active, input_timeout_s)
    if active and camera_info_fault:
        warnings.append(f"camera_info is not published: {camera_info_fault}")
    if active and lately is not None and (strange := unusual(lately, normal)):
        warnings.append(f"the street is unlike those that the model was calibrated on: {', '.join(strange)}")
    level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    # All of them, the worst first: none hides what helps against another.
    message = "; ".join([*errors, *warnings]) or ("segmenting" if active else "inactive")
    values: dict[str, object] = {
        "topic": source.topic,
        "type": source.message_type,
        "publishers": len(source.publisher_types),
        "rate_in_hz": snapshot.rate_in_hz,
        "rate_out_hz": snapshot.rate_out_hz,
        "latency_ms_p50": snapshot.latency_p50_ms,
        "latency_ms_p99": snapshot.latency_p99_ms,
        "received": snapshot.received,
        "segmented": snapshot.answered,
        **{f"dropped_{cause}": count for cause, count in snapshot.dropped.items()},
        "lost_in_transport": snapshot.lost,
        "input_reliability": source.reliability,
        "input_reliability_reason": source.reliability_reason,
        "camera_info_topic": source.info_topic,
        "calibration": source.calibration,
        "silence_s": snapshot.silence_s,
        "unanswered_s": snapshot.unanswered_s,
        "incompatible_qos": source.incompatible_qos,
        "latency_from": "arrival" if stamp_clock.foreign else "stamp",
        "stamp_offset_ms": stamp_clock.offset_ms,
        **(lately._asdict() if lately is not None else {}),
    }
    return status(level, f"{name}: camera {camera}".rstrip(), message, hardware_id, values)


def _complaints(
    snapshot: FrameSnapshot,
    previous: FrameSnapshot,
    source: InputState,
    stamp_clock: StampClock,
    active: bool,
    input_timeout_s: float,
) -> tuple[list[str], list[str]]:
    """Say everything that is wrong with an input, each thing once; return the errors and the warnings."""
    new_drops = {cause: count - previous.dropped[cause] for cause, count in snapshot.dropped.items()}
    silence = silence_reason(snapshot, source, input_timeout_s) if active else None
    errors: list[str] = []
    warnings: list[str] = []
    if silence:
        errors.append(silence)
    if active and not silence and snapshot.unanswered_s > input_timeout_s:
        errors.append(f"images come, but no label for {snapshot.unanswered_s:.1f} s")
        if drops := ", ".join(f"{count} {cause}" for cause, count in new_drops.items() if count):
            errors.append(f"dropped since the last report: {drops}")
    else:
        if new_drops["error"]:
            errors.append(f"{new_drops['error']} frames failed since the last report")
        if new_drops["bad"] or new_drops["stale"]:
            warnings.append(
                f"dropped since the last report: {new_drops['bad']} bad frames, {new_drops['stale']} stale ones"
            )
    if stamp_clock.foreign and active:
        warnings.append(f"{_describe_stamps(stamp_clock)}; age and latency count from the arrival")
    elif new_drops["stale"] and (stamp_clock.foreign or stamp_clock.steady_offset_ms is not None):
        warnings.append(_describe_stamps(stamp_clock))
    if active and snapshot.lost > previous.lost:
        warnings.append(f"{snapshot.lost - previous.lost} images lost on their way since the last report")
        if not silence or transport_remedy(source) not in silence:
            warnings[-1] += f": {transport_remedy(source)}"
    if active and not silence and source.incompatible_qos:
        warnings.append(
            f"a publisher on {source.topic} does not fit in {source.incompatible_qos}; nothing comes from it"
        )
    return errors, warnings


def silence_reason(snapshot: FrameSnapshot, source: InputState, input_timeout_s: float) -> str | None:
    """Say why no image comes, as far as one can tell, and what helps; None while images come."""
    if snapshot.silence_s <= input_timeout_s:
        return None
    prefix = f"no image on {source.topic} for {snapshot.silence_s:.1f} s"
    if not source.publisher_types:
        return (
            f"{prefix}: nobody publishes it; check the topic's name and its remapping, and that "
            "ROS_DOMAIN_ID and FASTDDS_BUILTIN_TRANSPORTS are the publisher's"
        )
    if source.message_type not in source.publisher_types:
        return (
            f"{prefix}: it carries {', '.join(sorted(set(source.publisher_types)))}, not {source.message_type}; "
            "check the parameter transport"
        )
    if source.incompatible_qos:
        return (
            f"{prefix}: its publisher does not fit in {source.incompatible_qos}; check the parameter input_reliability"
        )
    return (
        f"{prefix}, though it has a publisher: either that is silent, or its images are too large for the transport: "
        f"{transport_remedy(source)}"
    )


def transport_remedy(source: InputState) -> str:
    """Say what helps against images of this input that are lost on their way."""
    if source.reliability == "best_effort" and source.all_reliable:
        return "set the parameter input_reliability to auto, since the publisher offers reliable"
    remedies = ["with Fast DDS start it with FASTDDS_DEFAULT_PROFILES_FILE set to lwseg_ros's config/fastdds.xml"]
    if source.reliability == "best_effort":
        remedies.insert(0, "let the publisher offer reliable QoS")
    if source.message_type == "sensor_msgs/msg/Image":
        remedies.append("take its compressed images (parameter transport)")
    return f"{', or '.join(remedies)}; docs/middleware.md tells more"


def _describe_stamps(clock: StampClock) -> str:
    if clock.offset_ms is None:
        return "the stamps are missing or from another clock"
    if not clock.foreign and clock.steady_offset_ms is not None:
        behind = f"{clock.steady_offset_ms / 1e3:.1f} s behind the node's clock"
        return f"the stamps are steadily {behind}, as of another clock: {STAMP_REMEDY}"
    off = f"{abs(clock.offset_ms) / 1e3:.1f} s {'behind' if clock.offset_ms > 0 else 'ahead of'} the node's"
    return f"the stamps are from another clock, {off}: {STAMP_REMEDY}"


def status(level: bytes, name: str, message: str, hardware_id: str, values: dict[str, object]) -> DiagnosticStatus:
    """Make a status; a value that is None becomes an empty text."""
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware_id, values=pairs)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
