"""Pair a bag's images with the ground truth in it, by stamp."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lwseg_ros.replay.bag import Bag, BagMessage, Topic


@dataclass(frozen=True)
class Frame:
    """One recorded image and, where there is one, its ground truth."""

    index: int
    image: BagMessage
    ground_truth: BagMessage | None


def frames(bag: Bag, image_topic: Topic, label_topic: Topic | None) -> Iterator[Frame]:
    """Yield every image in the recorded order with the label of the same stamp; raises BagError."""
    images = list(bag.messages(image_topic))
    labels, _ = _pair(images, [] if label_topic is None else list(bag.messages(label_topic)))
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield Frame(index, image, label)


def ambiguities(bag: Bag, image_topic: Topic, label_topic: Topic | None) -> list[str]:
    """Say how many labels `frames` leaves out since nothing tells which image they belong to; raises BagError."""
    if label_topic is None:
        return []
    _, count = _pair(list(bag.messages(image_topic)), list(bag.messages(label_topic)))
    if not count:
        return []
    return [
        f"{count} labels on {label_topic.name} are not used: several images or labels carry the same stamp, and neither "
        "their number nor their log times tell which belong together"
    ]


def _pair(images: list[BagMessage], labels: list[BagMessage]) -> tuple[list[BagMessage | None], int]:
    """Find the label of each image; returns one or None for each, and the number of labels that cannot be told apart."""
    images_of, labels_of = defaultdict(list), defaultdict(list)
    for index, image in enumerate(images):
        images_of[image.stamp_ns].append(index)
    for label in labels:
        labels_of[label.stamp_ns].append(label)
    found: list[BagMessage | None] = [None] * len(images)
    num_ambiguous = 0
    for stamp_ns, candidates in labels_of.items():
        indices = images_of.get(stamp_ns, [])
        if _in_step([images[index].log_ns for index in indices], [label.log_ns for label in candidates]):
            for index, label in zip(indices, candidates, strict=True):
                found[index] = label
        elif indices:
            num_ambiguous += len(candidates)
    return found, num_ambiguous


def _in_step(images_ns: Sequence[int], labels_ns: Sequence[int]) -> bool:
    """Tell whether the labels of one stamp belong to its images in order: each was logged nearest to its own image."""
    if len(images_ns) != len(labels_ns):
        return False
    return all(
        abs(label_ns - images_ns[index]) < abs(label_ns - other_ns)
        for index, label_ns in enumerate(labels_ns)
        for other_ns in (*images_ns[max(0, index - 1) : index], *images_ns[index + 1 : index + 2])
    )
