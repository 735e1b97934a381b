"""What the shipped model says of a few frames of the shipped clip: small, and as skewed and tied as real figures are."""

from __future__ import annotations

from functools import cache

import numpy as np

from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.pairing import pair
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.segmenter import Segmenter

FRAMES = (0, 45, 90)


@cache
def clip_predictions() -> tuple[Manifest, list[tuple[np.ndarray, Prediction]]]:
    """Return the manifest, and ground truth and prediction of each of FRAMES."""
    found = []
    with Segmenter.open("lite_seg0_fast_camvid", "onnxruntime") as segmenter, Bag(SAMPLE_BAG) as bag:
        [truth] = bag.label_topics()
        for frame in pair(bag, bag.image_topic(), truth).frames:
            if frame.index in FRAMES:
                assert frame.ground_truth is not None
                segmentation = segmenter.segment([bag.image(frame.image)])[0]
                found.append((bag.label(frame.ground_truth), Prediction(segmentation.label, segmentation.uncertainty)))
        return segmenter.manifest, found


def evaluated_clip() -> Evaluator:
    """Count these frames."""
    manifest, pairs = clip_predictions()
    evaluator = Evaluator.of_model(manifest, in_detail=True)
    for truth, prediction in pairs:
        evaluator.add(prediction, truth)
    return evaluator


def counted_pixels(rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true and predicted class and level of uncertainty of the pixels that count, int64 [K] each."""
    manifest, pairs = clip_predictions()
    parts = []
    for truth, prediction in pairs:
        assert prediction.uncertainty is not None
        images = [image[rows] for image in (truth, prediction.label, prediction.uncertainty)]
        counted = images[0] != manifest.ignore_id
        parts.append([image[counted].astype(np.int64) for image in images])
    true, pred, level = map(np.concatenate, zip(*parts, strict=True))
    return true, pred, level
