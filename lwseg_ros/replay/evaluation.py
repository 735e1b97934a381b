"""Evaluate the predictions of a bag's frames against the ground truth in the bag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from lwseg_ros.errors import BagError, ImageError
from lwseg_ros.evaluation.evaluator import Evaluator, Prediction
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.lookahead import map_ahead
from lwseg_ros.replay.pairing import Frame, frames


@dataclass(frozen=True)
class KeptFrame:
    """An evaluated frame, kept to be looked at: image uint8 BGR [H, W, 3], ground truth uint8 [H, W] or None."""

    index: int
    image: np.ndarray
    prediction: Prediction
    ground_truth: np.ndarray | None


@dataclass(frozen=True)
class LoadedFrame:
    """A frame decoded: image uint8 BGR [H, W, 3], None where it cannot be, and ground truth uint8 [H, W], None without."""

    frame: Frame
    image: np.ndarray | None
    ground_truth: np.ndarray | None


def evaluate_bag(
    bag: Bag,
    image_topic: Topic,
    label_topic: Topic | None,
    manifest: Manifest,
    predict: Callable[[Frame, np.ndarray], Prediction | None],
    *,
    num_kept: int = 0,
    progress: Callable[[], object] = lambda: None,
    until: Callable[[int], bool] = lambda index: False,
    on_prediction: Callable[[Frame, np.ndarray, Prediction], object] = lambda frame, image, prediction: None,
) -> tuple[Evaluator, list[KeptFrame], int]:
    """Walk through a bag, ask for the prediction of every frame, and evaluate it.

    Args:
        predict: gets the frame and its image, uint8 BGR [H, W, 3]; returns None where there is no prediction. It is called in
            a thread of its own, while this one decodes the frames to come and evaluates those before.
        num_kept: how many frames, evenly spread, to keep.
        progress: called after every frame.
        until: asked before every frame with its index; once it is true, the frames before it are all.
        on_prediction: called with every frame that has a prediction, with its image and that prediction.

    Returns:
        The evaluator, the kept frames, and the number of images that cannot be decoded.

    Raises:
        BagError: the bag is damaged, a label does not fit its image, or no label fits any image.
    """
    evaluator, kept, num_bad, num_labels, num_frames = Evaluator.of_model(manifest), [], 0, 0, 0
    chosen = set(np.linspace(0, image_topic.count - 1, num_kept).round().astype(int).tolist())
    wanted = takewhile(lambda frame: not until(frame.index), frames(bag, image_topic, label_topic))

    def answer(item: LoadedFrame) -> Prediction | None:
        return None if item.image is None else predict(item.frame, item.image)

    with closing(map_ahead(answer, _load(bag, wanted))) as answered:
        for item, prediction in answered:
            frame, image, ground_truth = item.frame, item.image, item.ground_truth
            progress()
            num_frames += 1
            num_labels += frame.ground_truth is not None
            num_bad += image is None
            if image is None or prediction is None:
                evaluator.consistency.skip()
                continue
            evaluator.add(prediction, ground_truth, image)
            on_prediction(frame, image, prediction)
            if frame.index in chosen:
                kept.append(KeptFrame(frame.index, image, prediction, ground_truth))
    if label_topic is not None and not num_labels and num_frames == image_topic.count:
        raise BagError(
            f"no stamp on {label_topic.name} equals one on {image_topic.name} in {bag.path}; "
            "a label has to carry the stamp of its image"
        )
    return evaluator, kept, num_bad


def _load(bag: Bag, wanted: Iterable[Frame]) -> Iterator[LoadedFrame]:
    for frame in wanted:
        try:
            image = bag.image(frame.image)
        except ImageError:
            yield LoadedFrame(frame, None, None)
            continue
        ground_truth = bag.label(frame.ground_truth) if frame.ground_truth is not None else None
        if ground_truth is not None:
            _check_size(bag, frame, image, ground_truth)
        yield LoadedFrame(frame, image, ground_truth)


def _check_size(bag: Bag, frame: Frame, image: np.ndarray, ground_truth: np.ndarray) -> None:
    if ground_truth.shape != image.shape[:2]:
        assert frame.ground_truth is not None
        raise BagError(
            f"the label on {frame.ground_truth.topic} at {frame.ground_truth.stamp_ns} ns in {bag.path} is "
            f"{ground_truth.shape[0]} x {ground_truth.shape[1]} pixels (height x width), its image {image.shape[0]} x "
            f"{image.shape[1]}; both have to be the same size"
        )
