"""The parameters of the node `paint`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lwseg_ros.node.parameters import InputReliability, Parameter, table


@dataclass(frozen=True)
class PaintSettings:
    """All parameters' values at one moment."""

    cameras: tuple[str, ...] = ("",)
    input_reliability: InputReliability = "auto"
    input_depth: int = 5
    fixed_frame: str = "odom"
    point_time_field: str = "auto"
    rectified: bool = False
    unseen_points: Literal["keep", "drop"] = "keep"
    occlusion_angle_deg: float = 0.5
    occlusion_tolerance: float = 0.05
    max_time_difference_ms: float = 60.0
    max_wait_ms: float = 400.0
    input_timeout_s: float = 2.0
    diagnostics_rate_hz: float = 1.0
    autostart: bool = True

    @property
    def label_history_ns(self) -> int:
        """How long labels are kept: as long as a sweep may wait for those farthest from it, and a second."""
        return int((self.max_wait_ms + self.max_time_difference_ms) * 1e6) + 1_000_000_000

    def changed(self, values: Mapping[str, Any]) -> PaintSettings:
        """Give the settings with some parameters' (valid) values replaced; names that are not ours are left out."""
        known = {
            name: PAINT_PARAMETERS[name].convert(value) for name, value in values.items() if name in PAINT_PARAMETERS
        }
        return replace(self, **known)


PAINT_PARAMETERS = table(
    PaintSettings,
    cameras=Parameter(
        "Names of several cameras: subscribes <name>/label and its like. A single empty name means one camera without a name.",
        "unconfigured",
    ),
    input_reliability=Parameter(
        "QoS reliability of the subscription of points; auto is reliable while every publisher offers that, else best_effort.",
        "unconfigured",
        ("auto", "reliable", "best_effort"),
    ),
    input_depth=Parameter("QoS history depth of the subscription of points.", "unconfigured", minimum=1, maximum=100),
    fixed_frame=Parameter(
        "Frame in which the world stands still, for the car's motion between points and images; empty: no correction.",
        "any time",
    ),
    point_time_field=Parameter(
        "Field of the points' own times; auto takes t, time, timestamp, time_stamp or offset_time; empty: the sweep's stamp.",
        "any time",
    ),
    rectified=Parameter("Whether the images are rectified: camera_info's P and R count, not K and D.", "any time"),
    unseen_points=Parameter("What becomes of points that no camera sees.", "any time", ("keep", "drop")),
    occlusion_angle_deg=Parameter(
        "Angle between neighbouring rays of the lidar, the larger of its two, for telling what is hidden; 0: nothing is.",
        "any time",
        minimum=0.0,
        maximum=5.0,
    ),
    occlusion_tolerance=Parameter(
        "Share of a point's range by which what hides it is nearer.", "any time", minimum=0.001, maximum=0.5
    ),
    max_time_difference_ms=Parameter(
        "How far an image's stamp may be from the middle of the sweep.", "any time", minimum=0.0, maximum=1000.0
    ),
    max_wait_ms=Parameter(
        "How long a sweep waits for its images and transforms.", "any time", minimum=0.0, maximum=10_000.0
    ),
    input_timeout_s=Parameter(
        "Diagnose a silence of points after this time, and wait no longer for a camera that is silent.",
        "any time",
        minimum=0.1,
        maximum=3600.0,
    ),
    diagnostics_rate_hz=Parameter("Rate of /diagnostics.", "any time", minimum=0.1, maximum=50.0),
    autostart=Parameter("Configure and activate at start; otherwise wait for lifecycle transitions.", "at start"),
)
