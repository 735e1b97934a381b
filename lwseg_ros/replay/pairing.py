"""Judge the answers to a bag's frames against the ground truth in the bag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lwseg_ros.errors import BagError, ImageError, ModelFileError
from lwseg_ros.evaluation.metrics import ConfusionMatrix, UncertaintyMetrics, finite_or_none
from lwseg_ros.evaluation.temporal_consistency import TemporalConsistency
from lwseg_ros.model_file import Manifest
from lwseg_ros.replay.bag import Bag, BagMessage, Topic

# A label may be recorded after its photo; with this many photos waiting it is taken as missing.
MAX_WAITING = 30


@dataclass(frozen=True)
class Answer:
    """What came back for one frame.

    Attributes:
        label: uint8 [H, W] class ids in camera pixels.
        uncertainty: uint8 [H, W], 0 = certain; None when it did not arrive.
    """

    label: np.ndarray
    uncertainty: np.ndarray | None


@dataclass(frozen=True)
class Frame:
    """One recorded photo and, where there is one, its ground truth."""

    index: int
    photo: BagMessage
    truth: BagMessage | None


@dataclass(frozen=True)
class Picture:
    """A judged frame, kept to be looked at: photo uint8 BGR [H, W, 3], the rest uint8 [H, W]."""

    index: int
    photo: np.ndarray
    answer: Answer
    truth: np.ndarray | None


class Evaluation:
    """Figures of merit over frames in their order; a figure that cannot be measured is None."""

    def __init__(self, manifest: Manifest) -> None:
        """Start with no frame seen; raises ModelFileError where the class ids are not 0 to C - 1."""
        ids = sorted(info.id for info in manifest.classes)
        if ids != list(range(len(ids))):
            raise ModelFileError(f"the model's class ids are {ids}; only ids 0 to {len(ids) - 1} can be judged")
        self._manifest = manifest
        self.confusion = ConfusionMatrix(manifest.num_classes, manifest.ignore_id)
        self.uncertainty = UncertaintyMetrics(manifest.num_classes, manifest.ignore_id, manifest.uncertainty_kind)
        self.consistency = TemporalConsistency()

    def add(self, answer: Answer, truth: np.ndarray | None, photo: np.ndarray | None = None) -> None:
        """Count one frame; the photo, uint8 BGR [H, W, 3], is needed for temporal consistency alone."""
        if photo is not None:
            self.consistency.update(photo, answer.label)
        if truth is None:
            return
        self.confusion.update(truth, answer.label)
        if answer.uncertainty is not None:
            self.uncertainty.update(truth, answer.label, answer.uncertainty)

    def figures(self) -> dict[str, Any]:
        """Compute miou, pixel_accuracy, per_class_iou, uncertainty and temporal_consistency, ready for JSON."""
        names = [info.name for info in sorted(self._manifest.classes, key=lambda info: info.id)]
        return {
            "miou": finite_or_none(self.confusion.miou),
            "pixel_accuracy": finite_or_none(self.confusion.pixel_accuracy),
            "per_class_iou": dict(zip(names, map(finite_or_none, self.confusion.per_class_iou), strict=True)),
            "uncertainty": {
                "ece": finite_or_none(self.uncertainty.ece),
                "auroc": finite_or_none(self.uncertainty.auroc),
                "aurc": finite_or_none(self.uncertainty.aurc),
            },
            "temporal_consistency": finite_or_none(self.consistency.value),
        }


def frames(bag: Bag, image_topic: Topic, label_topic: Topic | None) -> Iterator[Frame]:
    """Yield every photo in the recorded order with the label of the same stamp; raises BagError."""
    topics = [image_topic] if label_topic is None else [image_topic, label_topic]
    waiting: list[tuple[int, BagMessage]] = []
    truths: dict[int, BagMessage] = {}
    index = 0

    def take() -> Frame:
        number, photo = waiting.pop(0)
        return Frame(number, photo, truths.pop(photo.stamp_ns, None))

    for message in bag.messages(*topics):
        if message.topic == image_topic.name:
            waiting.append((index, message))
            index += 1
        else:
            truths[message.stamp_ns] = message
            if len(truths) > 2 * MAX_WAITING:  # labels that no photo asks for must not pile up
                truths.pop(next(iter(truths)))
        while waiting and (label_topic is None or waiting[0][1].stamp_ns in truths or len(waiting) > MAX_WAITING):
            yield take()
    while waiting:
        yield take()


def judge(
    bag: Bag,
    image_topic: Topic,
    label_topic: Topic | None,
    manifest: Manifest,
    answer_of: Callable[[Frame, np.ndarray], Answer | None],
    *,
    num_pictures: int = 0,
    progress: Callable[[], object] = lambda: None,
) -> tuple[Evaluation, list[Picture], int]:
    """Walk through a bag, ask for the answer to every frame, and judge it.

    Args:
        answer_of: gets the frame and its photo, uint8 BGR [H, W, 3]; returns None where there is no answer.
        num_pictures: how many frames, evenly spread, to keep.
        progress: called after every frame.

    Returns:
        The evaluation, the pictures, and the number of photos that cannot be decoded.

    Raises:
        BagError: the bag is damaged, a label does not fit its photo, or no label fits any photo.
    """
    evaluation, pictures, num_bad, num_truths = Evaluation(manifest), [], 0, 0
    chosen = set(np.linspace(0, image_topic.count - 1, num_pictures).round().astype(int).tolist())
    for frame in frames(bag, image_topic, label_topic):
        progress()
        num_truths += frame.truth is not None
        try:
            photo = bag.photo(frame.photo)
        except ImageError:
            num_bad += 1
            evaluation.consistency.skip()
            continue
        truth = bag.label(frame.truth) if frame.truth is not None else None
        if truth is not None:
            _check_size(bag, frame, photo, truth)
        answer = answer_of(frame, photo)
        if answer is None:
            evaluation.consistency.skip()
            continue
        evaluation.add(answer, truth, photo)
        if frame.index in chosen:
            pictures.append(Picture(frame.index, photo, answer, truth))
    if label_topic is not None and not num_truths:
        raise BagError(
            f"no stamp on {label_topic.name} equals one on {image_topic.name} in {bag.path}; "
            "a label has to carry the stamp of its photo"
        )
    return evaluation, pictures, num_bad


def _check_size(bag: Bag, frame: Frame, photo: np.ndarray, truth: np.ndarray) -> None:
    if truth.shape != photo.shape[:2]:
        assert frame.truth is not None
        raise BagError(
            f"the label on {frame.truth.topic} at {frame.truth.stamp_ns} ns in {bag.path} is {truth.shape[0]} x "
            f"{truth.shape[1]} pixels (height x width), its photo {photo.shape[0]} x {photo.shape[1]}; "
            "both have to be the same size"
        )
