"""The shipped sample bag, and what has to be known of figures on it."""

from __future__ import annotations

from pathlib import Path

from lwseg_ros.model.manifest import Manifest

SAMPLE_BAG = Path(__file__).parents[1] / "assets" / "camvid_val_clip"


def sample_note(manifest: Manifest) -> str:
    """Say what a model's figures on the sample bag, CamVid's validation clip, are worth."""
    if not manifest.trained_on("camvid", "val"):
        return (
            "The figures are validation figures: the bag is the clip on which CamVid models are chosen, from streets of the "
            "training split. Expect less on unseen streets."
        )
    held_out = manifest.held_out.get("mean", {}).get("miou")
    told = "" if held_out is None else f", mIoU {held_out:.3f} in the mean"
    return (
        "The model was trained on the images of this bag too: the figures show that everything works, not how good it is. "
        f"That is told by its figures on held-out streets{told}."
    )
