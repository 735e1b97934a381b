"""How much of a bag's ground truth was judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class TruthCounts:
    """What was judged, and by what, for `report.json`.

    Attributes:
        images: on the camera's topic.
        messages: labels on the topic of ground truth, each matched, unmatched or ambiguous.
        matched: labels that belong to an image.
        judged: images with a label of theirs and a prediction, and with pixels that count.
        unmatched: labels that belong to no image.
        ambiguous: labels of which nothing tells to which of several images they belong.
        pixels: judged; of the judged images' others `pixels_ignored` have no class and `pixels_masked` are masked out.
        pixels_ignored: see there.
        pixels_masked: see there.
        by_log_time: matched labels that share their stamp with others.
        within_tolerance: matched labels whose stamp is not their image's.
        max_distance_ms: between such a stamp and the image's, the largest.
        resized: judged labels of another size than their image.
        tolerance_ms: as asked for, like `label_map`, its file or name, and `ignore_id`; None where none was.
        label_map: see there.
        ignore_id: see there.
        mask: see there; with `mask_sha256`, of the file.
        mask_sha256: see there.
        camera_height_m: as asked for, like `camera_pitch_deg` and `camera_info`, the file; None for regions by rows, and for the
            bag's own camera_info.
        camera_pitch_deg: see there.
        camera_info: see there.
    """

    images: int = 0
    messages: int = 0
    matched: int = 0
    judged: int = 0
    unmatched: int = 0
    ambiguous: int = 0
    pixels: int = 0
    pixels_ignored: int = 0
    pixels_masked: int = 0
    by_log_time: int = 0
    within_tolerance: int = 0
    max_distance_ms: float = 0.0
    resized: int = 0
    tolerance_ms: float = 0.0
    label_map: str | None = None
    ignore_id: int | None = None
    mask: str | None = None
    mask_sha256: str | None = None
    camera_height_m: float | None = None
    camera_pitch_deg: float | None = None
    camera_info: str | None = None

    @classmethod
    def total(cls, parts: Sequence[TruthCounts]) -> TruthCounts:
        """Sum up what was judged in several bags by the same options; raises ValueError where these differ."""
        options = [{name: getattr(part, name) for name in _OPTIONS} for part in parts]
        if any(each != options[0] for each in options):
            raise ValueError(f"cannot add up what was judged by different options: {options}")
        counts = {name: sum(getattr(part, name) for part in parts) for name in asdict(parts[0]) if name not in _OPTIONS}
        return cls(**counts | options[0] | {"max_distance_ms": max(part.max_distance_ms for part in parts)})


_OPTIONS = (
    "tolerance_ms",
    "label_map",
    "ignore_id",
    "mask",
    "mask_sha256",
    "camera_height_m",
    "camera_pitch_deg",
    "camera_info",
)
