"""What a soak measured, and its figures as `soak.json` holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lwseg_ros.evaluation.machine import machine
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.model_file import ModelFile

# Until every buffer has been used once and every thread has started, memory grows without anything leaking.
WARM_UP_SHARE = 0.2
MAX_WARM_UP_S = 300.0
# Over less the slope says nothing: a megabyte that comes and goes is dozens an hour.
MIN_SLOPE_S = 60.0


@dataclass(frozen=True)
class Sample:
    """The node at one moment, and what came and went since the sample before.

    Attributes:
        time_s: since the first image.
        rss_mb: resident memory in 10^6 bytes, shared memory included.
        threads: of the node.
        handles: its open file handles.
        cpu_percent: of one core, since the sample before; None for the first.
        published: images so far, and `labels` those that came back.
        labels: see there.
        latency_p50_ms: from publishing an image to receiving its label, since the sample before; None where none came.
        latency_max_ms: the same, the longest.
    """

    time_s: float
    rss_mb: float
    threads: int
    handles: int
    cpu_percent: float | None
    published: int
    labels: int
    latency_p50_ms: float | None
    latency_max_ms: float | None


@dataclass(frozen=True)
class SoakCounts:
    """What became of the images: published, labels, uncertainties and unexpected by the driver, the others by the node.

    Attributes:
        published: images that went out.
        labels: labels that came back, each for an image of its own; so are `uncertainties`.
        uncertainties: see there.
        unexpected: labels and uncertainties that belong to no image, or came twice.
        received: images that reached the node.
        segmented: those whose label it published.
        dropped: the others, by cause.
        lost_reported: images whose loss the middleware told the node. It does not tell of those that newer ones pushed out
            of the node's full queue.
    """

    published: int
    labels: int
    uncertainties: int
    unexpected: int
    received: int
    segmented: int
    dropped: Mapping[str, int]
    lost_reported: int

    @property
    def lost(self) -> int:
        """Images that did not reach the node."""
        return self.published - self.received

    def faults(self) -> list[str]:
        """Say what does not add up, once nothing is on its way any more."""
        num_dropped = sum(self.dropped.values())
        checks = {
            f"the node received {self.received} images and accounts for {self.segmented} segmented and {num_dropped} "
            "dropped ones": self.received == self.segmented + num_dropped,
            f"{self.published} images were published; the node received {self.received} and reports "
            f"{self.lost_reported} as lost": self.received + self.lost_reported <= self.published,
            f"none of {self.published} images was segmented": bool(self.segmented or not self.published),
            f"the node segmented {self.segmented} images and {self.labels} labels came": self.labels == self.segmented,
            f"the node segmented {self.segmented} images and {self.uncertainties} uncertainties came": (
                self.uncertainties == self.segmented
            ),
            f"{self.unexpected} labels or uncertainties belong to no image, or came twice": not self.unexpected,
        }
        return [text for text, holds in checks.items() if not holds]


@dataclass(frozen=True)
class SoakResult:
    """Everything that a soak tells.

    Attributes:
        source: the bag's path.
        model: the model file.
        minutes: how long it was to take.
        rate_hz: how many images a second were to go out.
        duration_s: how long images went out.
        samples: one a second.
        latencies_ms: of every label that came.
        counts: what became of the images.
        diagnostics: the last value of every key that the node reported.
        levels: number of reports by their worst level.
        complaints: what reports that were not OK said, some of it.
        interrupted: whether it was ended early, in order.
        failure: why it did not get to its end, or empty.
        warnings: what of bag or environment was changed, as sentences.
    """

    source: str
    model: ModelFile
    minutes: float
    rate_hz: float
    duration_s: float
    samples: tuple[Sample, ...]
    latencies_ms: Sequence[float]
    counts: SoakCounts
    diagnostics: Mapping[str, str]
    levels: Mapping[str, int]
    complaints: tuple[str, ...]
    interrupted: bool = False
    failure: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Why the soak failed; empty where it did not. Counts are compared only where the node lived to settle them."""
        return [self.failure] if self.failure else self.counts.faults()

    @property
    def warm_up_s(self) -> float:
        """How much of the beginning the slope leaves out."""
        return min(WARM_UP_SHARE * self.duration_s, MAX_WARM_UP_S)

    @property
    def after_warm_up(self) -> list[Sample]:
        """The samples that the slope is of."""
        return [sample for sample in self.samples if sample.time_s >= self.warm_up_s]

    @property
    def memory_mb_per_hour(self) -> float | None:
        """Slope of the node's memory after the warm-up; None where that is too short to tell."""
        rest = self.after_warm_up
        if not rest or rest[-1].time_s - rest[0].time_s < MIN_SLOPE_S:
            return None
        return slope_per_hour([sample.time_s for sample in rest], [sample.rss_mb for sample in rest])

    def figures(self) -> dict[str, Any]:
        """Collect the figures; one that was not measured is None."""
        counts = self.counts
        seconds = self.duration_s or None
        cpu_percent = [sample.cpu_percent for sample in self.samples if sample.cpu_percent is not None]
        return {
            "schema": 1,
            "partial": self.interrupted or bool(self.failure),
            "faults": self.faults,
            "source": self.source,
            "model": self.model.path.name,
            "model_sha256": self.model.sha256,
            **{key: self.diagnostics.get(key) for key in ("backend", "backend_version", "precision", "device")},
            "machine": machine(),
            "minutes": {"asked": self.minutes, "done": self.duration_s / 60},
            "rate_hz": {
                "asked": self.rate_hz,
                "published": seconds and counts.published / seconds,
                "segmented": seconds and counts.labels / seconds,
            },
            "frames": {
                "published": counts.published,
                "segmented": counts.segmented,
                "dropped": sum(counts.dropped.values()),
                "dropped_by_cause": dict(counts.dropped),
                "lost_in_transport": counts.lost,
                "lost_reported": counts.lost_reported,
                "received": counts.received,
                "labels": counts.labels,
                "uncertainties": counts.uncertainties,
                "unexpected": counts.unexpected,
            },
            "latency_ms": {**percentiles(self.latencies_ms, (50, 99)), "max": max(self.latencies_ms, default=None)},
            "memory_mb": {
                **self._extent("rss_mb"),
                "slope_per_hour": self.memory_mb_per_hour,
                "warm_up_s": self.warm_up_s,
            },
            "threads": self._extent("threads"),
            "handles": self._extent("handles"),
            "cpu_percent": {
                "mean": float(np.mean(cpu_percent)) if cpu_percent else None,
                "max": max(cpu_percent, default=None),
            },
            "diagnostics": {"reports": dict(self.levels), "complaints": list(self.complaints)},
            "warnings": list(self.warnings),
        }

    def series(self) -> dict[str, list[float | None]]:
        """Return the samples as one list for each attribute of `Sample`."""
        return {field.name: [getattr(sample, field.name) for sample in self.samples] for field in fields(Sample)}

    def _extent(self, name: str) -> dict[str, float | None]:
        values = [getattr(sample, name) for sample in self.samples]
        rest = [getattr(sample, name) for sample in self.after_warm_up]
        return {
            "start": values[0] if values else None,
            "after_warm_up": rest[0] if rest else None,
            "end": values[-1] if values else None,
            "max": max(values, default=None),
        }


def slope_per_hour(times_s: Sequence[float], values: Sequence[float]) -> float | None:
    """Fit a line by least squares; return its slope in the values' unit an hour, None for fewer than two times."""
    times_h = np.asarray(times_s, np.float64) / 3600
    offsets_h = times_h - times_h.mean() if len(times_h) else times_h
    spread = float(offsets_h @ offsets_h)
    return float(offsets_h @ np.asarray(values, np.float64)) / spread if spread else None
