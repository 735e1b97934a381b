"""The shipped sample bag."""

from __future__ import annotations

from pathlib import Path

SAMPLE_BAG = Path(__file__).parents[1] / "assets" / "camvid_val_clip"
SAMPLE_NOTE = (
    "The figures are validation figures: the bag is the clip on which CamVid models are chosen, from streets of the "
    "training split. Expect less on unseen streets."
)
