"""Pair a bag's images with the ground truth in it, by stamp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lwseg_ros.replay.bag import Bag, BagMessage, Topic

# A label may be recorded after its image; with this many images waiting it is taken as missing.
MAX_WAITING = 30


@dataclass(frozen=True)
class Frame:
    """One recorded image and, where there is one, its ground truth."""

    index: int
    image: BagMessage
    ground_truth: BagMessage | None


def frames(bag: Bag, image_topic: Topic, label_topic: Topic | None) -> Iterator[Frame]:
    """Yield every image in the recorded order with the label of the same stamp; raises BagError."""
    topics = [image_topic] if label_topic is None else [image_topic, label_topic]
    waiting: list[tuple[int, BagMessage]] = []
    labels: dict[int, BagMessage] = {}
    index = 0

    def take() -> Frame:
        number, image = waiting.pop(0)
        return Frame(number, image, labels.pop(image.stamp_ns, None))

    for message in bag.messages(*topics):
        if message.topic == image_topic.name:
            waiting.append((index, message))
            index += 1
        else:
            labels[message.stamp_ns] = message
            if len(labels) > 2 * MAX_WAITING:  # labels that no image asks for must not pile up
                labels.pop(next(iter(labels)))
        while waiting and (label_topic is None or waiting[0][1].stamp_ns in labels or len(waiting) > MAX_WAITING):
            yield take()
    while waiting:
        yield take()
