"""Pair a bag's images with the ground truth in it, by an index of all stamps."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from lwseg_ros.replay.bag import Bag, BagMessage, Topic

NS_PER_MS = 10**6
# Where stamps go back, two images are neighbours in time up to so many usual intervals.
MAX_INTERVALS = 1.5
# Of an interval: stamps that are nearer than this are likely those of one moment.
MAX_JITTER = 0.25


@dataclass(frozen=True)
class Frame:
    """One recorded image.

    Attributes:
        index: number of the image in the recorded order, from 0.
        image: the camera's message.
        ground_truth: the label that belongs to it, or None.
        follows: whether it comes after the frame before it in time too, so that the two can be compared.
    """

    index: int
    image: BagMessage
    ground_truth: BagMessage | None
    follows: bool = True


@dataclass(frozen=True)
class Pairing:
    """Every image of a topic with its label, and what became of the labels: matched, ambiguous or unmatched.

    Attributes:
        frames: the images in the recorded order.
        num_labels: labels on the topic.
        num_matched: labels that belong to an image.
        num_ambiguous: labels that fit several images, or share an image with other labels, and nothing tells which belong.
        num_by_log_time: matched labels whose stamp several images carry, so that the log times decided.
        distances_ns: of each label matched within the tolerance, how far its stamp is from its image's.
        gaps_ns: of each unmatched label, how far its stamp is from the nearest image's; empty without images.
        num_backward: images that are stamped earlier than the one recorded before.
        interval_ns: median of the images' intervals, 0 where no two stamps differ.
    """

    frames: tuple[Frame, ...]
    num_labels: int
    num_matched: int
    num_ambiguous: int
    num_by_log_time: int
    distances_ns: tuple[int, ...]
    gaps_ns: tuple[int, ...]
    num_backward: int
    interval_ns: float

    @property
    def num_unmatched(self) -> int:
        """Labels that belong to no image."""
        return self.num_labels - self.num_matched - self.num_ambiguous


def pair(bag: Bag, image_topic: Topic, label_topic: Topic | None, tolerance_ns: int = 0) -> Pairing:
    """Find the label of every image.

    A label belongs to the image with its stamp. Of images and labels that share one, the log times decide where they leave
    no doubt. Where no image has a label's stamp, the two that are nearest to each other belong together, up to a tolerance.

    Raises:
        BagError: the bag is damaged.
    """
    images = list(bag.messages(image_topic))
    labels = [] if label_topic is None else list(bag.messages(label_topic))
    images_of, labels_of = _by_stamp(images), _by_stamp(labels)
    image_stamps, label_stamps = sorted(images_of), sorted(labels_of)
    found: dict[int, BagMessage] = {}
    num_ambiguous = num_by_log_time = 0
    distances_ns: list[int] = []
    gaps_ns: list[int] = []
    for stamp_ns in label_stamps:
        candidates = [labels[number] for number in labels_of[stamp_ns]]
        indices = images_of.get(stamp_ns, [])
        if indices:
            if _in_step([images[index].log_ns for index in indices], [label.log_ns for label in candidates]):
                found.update(zip(indices, candidates, strict=True))
                num_by_log_time += len(candidates) if len(candidates) > 1 else 0
            else:
                num_ambiguous += len(candidates)
            continue
        nearest = _nearest(image_stamps, stamp_ns)
        gap_ns = abs(nearest[0] - stamp_ns) if nearest else 0
        rivals = _nearest(label_stamps, nearest[0]) if nearest else []
        if not nearest or gap_ns > tolerance_ns or stamp_ns not in rivals:
            gaps_ns += [gap_ns] * len(candidates) if nearest else []
        elif len(nearest) == len(rivals) == len(candidates) == len(images_of[nearest[0]]) == 1:
            found[images_of[nearest[0]][0]] = candidates[0]
            distances_ns.append(gap_ns)
        else:
            num_ambiguous += len(candidates)
    follows, num_backward, interval_ns = _neighbours([image.stamp_ns for image in images])
    frames = [Frame(index, image, found.get(index), follows[index]) for index, image in enumerate(images)]
    return Pairing(
        tuple(frames),
        len(labels),
        len(found),
        num_ambiguous,
        num_by_log_time,
        tuple(distances_ns),
        tuple(gaps_ns),
        num_backward,
        interval_ns,
    )


def describe(pairing: Pairing, image: str, label: str, tolerance_ms: float) -> list[str]:
    """Say what is unusual in how the labels of a topic found the images of another, as sentences."""
    interval_ms = pairing.interval_ns / NS_PER_MS
    said = []
    if 0 < interval_ms < 2 * tolerance_ms:
        said.append(
            f"the label tolerance of {tolerance_ms:g} ms is more than half of the {interval_ms:.4g} ms between images: a label "
            "whose image is missing may be paired with a neighbour's"
        )
    if pairing.num_by_log_time:
        said.append(
            f"{pairing.num_by_log_time} labels on {label} share their stamp with others: by their log times they were told apart"
        )
    if pairing.num_ambiguous:
        said.append(
            f"{pairing.num_ambiguous} labels on {label} are not used: several images or labels carry the same stamp, or are as "
            "near, and neither their number nor their log times tell which belong together"
        )
    if pairing.distances_ns:
        said.append(
            f"{len(pairing.distances_ns)} labels on {label} are stamped up to {max(pairing.distances_ns) / NS_PER_MS:.4g} ms "
            "from their images, within the label tolerance"
        )
    if pairing.num_unmatched:
        said.append(
            f"{pairing.num_unmatched} of {pairing.num_labels} labels on {label} belong to no image on {image}"
            + _describe_gaps(pairing, tolerance_ms)
        )
    return said


def _describe_gaps(pairing: Pairing, tolerance_ms: float) -> str:
    """Say how far unmatched labels are from the nearest images, and which tolerance would pair them where that is likely right."""
    if not pairing.gaps_ns:
        return ""
    gaps_ms, interval_ms = [gap_ns / NS_PER_MS for gap_ns in pairing.gaps_ns], pairing.interval_ns / NS_PER_MS
    near_ms = [gap_ms for gap_ms in gaps_ms if tolerance_ms < gap_ms < MAX_JITTER * interval_ms]
    text = f": their stamps are {_time(median(gaps_ms))} from the nearest (median)"
    # Labels far from all images are what a shift of all stamps leaves over; then the nearest image is another one.
    if max(gaps_ms) > interval_ms and (near_ms or pairing.distances_ns):
        return f"{text}, and up to {_time(max(gaps_ms))}: if one clock is ahead, those that are near an image belong to another"
    return text + (f"; --label-tolerance {math.ceil(max(near_ms))} would pair those that are near" if near_ms else "")


def _time(ms: float) -> str:
    return f"{ms:.4g} ms" if ms < 1000 else f"{ms / 1000:.6g} s"


def _by_stamp(messages: Sequence[BagMessage]) -> Mapping[int, list[int]]:
    numbers = defaultdict(list)
    for number, message in enumerate(messages):
        numbers[message.stamp_ns].append(number)
    return numbers


def _in_step(images_ns: Sequence[int], labels_ns: Sequence[int]) -> bool:
    """Tell whether the labels of one stamp belong to its images in order: each was logged nearest to its own image."""
    if len(images_ns) != len(labels_ns):
        return False
    return all(
        abs(label_ns - images_ns[index]) < abs(label_ns - other_ns)
        for index, label_ns in enumerate(labels_ns)
        for other_ns in (*images_ns[max(0, index - 1) : index], *images_ns[index + 1 : index + 2])
    )


def _nearest(stamps_ns: Sequence[int], to_ns: int) -> list[int]:
    """Return the one of some sorted stamps that is nearest to another, or the two that are as near."""
    position = bisect_left(stamps_ns, to_ns)
    around = stamps_ns[max(0, position - 1) : position + 1]
    least_ns = min((abs(stamp_ns - to_ns) for stamp_ns in around), default=0)
    return [stamp_ns for stamp_ns in around if abs(stamp_ns - to_ns) == least_ns]


def _neighbours(stamps_ns: Sequence[int]) -> tuple[list[bool], int, float]:
    """Tell which images follow the one recorded before them, how many are stamped earlier than it, and the usual interval."""
    ordered = sorted(set(stamps_ns))
    interval_ns = median(later - earlier for earlier, later in pairwise(ordered)) if ordered[1:] else 0
    steps_ns = [later - earlier for earlier, later in pairwise(stamps_ns)]
    num_backward = sum(step_ns < 0 for step_ns in steps_ns)
    if not num_backward:
        return [True] * len(stamps_ns), 0, interval_ns
    return [True, *(0 < step_ns <= MAX_INTERVALS * interval_ns for step_ns in steps_ns)], num_backward, interval_ns
