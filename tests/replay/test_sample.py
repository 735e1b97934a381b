"""What is said of figures on the sample bag."""

from __future__ import annotations

from dataclasses import replace

from support.tiny_model import tiny_manifest

from lwseg_ros.replay.sample import sample_note


def test_the_note_tells_a_clip_that_was_trained_on_from_one_that_was_not() -> None:
    manifest = tiny_manifest(dataset="camvid")
    on_train = replace(manifest, training={"recipe": {"dataset": {"name": "camvid", "train_split": "train"}}})
    assert sample_note(on_train).startswith("The figures are validation figures")
    on_both = replace(manifest, training={"recipe": {"dataset": {"name": "camvid", "train_split": ["train", "val"]}}})
    assert "was trained on the images of this bag too" in sample_note(on_both)
    assert sample_note(on_both).endswith("its figures on held-out streets.")
    judged = replace(on_both, held_out={"mean": {"miou": 0.5504}})
    assert sample_note(judged).endswith("its figures on held-out streets, mIoU 0.550 in the mean.")
