"""A model on a labelled split of a data set."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from lwseg_ros.datasets import Split, read_pair
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction, evaluate
from lwseg_ros.segmenter import Segmenter


def evaluate_split(segmenter: Segmenter, split: Split) -> dict[str, Any]:
    """Segment every image of a split; returns the metrics, None where one does not exist.

    Raises:
        DatasetError: a file of the split cannot be used.
    """

    def predict(image: np.ndarray) -> Prediction:
        segmentation = segmenter.segment([image])[0]
        return Prediction(segmentation.label, segmentation.uncertainty)

    pairs = tqdm(split.pairs, desc="evaluating", unit="image", file=sys.stderr, mininterval=0.5)
    evaluator = Evaluator.of_model(segmenter.manifest, in_detail=True)
    evaluate(evaluator, (read_pair(*pair) for pair in pairs), predict)
    metrics = evaluator.metrics()
    del metrics["temporal_consistency"]  # the images of a split need not follow each other
    return metrics
