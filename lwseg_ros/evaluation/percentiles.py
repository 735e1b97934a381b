"""Percentiles of times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def percentiles(values: Sequence[float], ranks: Sequence[int]) -> dict[str, float | None]:
    """Compute percentiles as {"p50": ...}, in the values' unit; None where there are no values."""
    found = np.percentile(values, ranks).tolist() if len(values) else [None] * len(ranks)
    return {f"p{rank}": value for rank, value in zip(ranks, found, strict=True)}
