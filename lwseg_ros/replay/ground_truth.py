"""What of a bag is ground truth: which topic, how its labels are read, and which pixels are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lwseg_ros.datasets.reading import read_image
from lwseg_ros.errors import DatasetError
from lwseg_ros.host.files import file_sha256
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.camera_view import CameraView
from lwseg_ros.replay.label_map import LabelMap


@dataclass(frozen=True, eq=False)
class Mask:
    """Which pixels are judged.

    Attributes:
        pixels: bool [H, W], True where they are.
        source: the file, as given.
        sha256: of the file, 64 lower-case hex digits.
    """

    pixels: np.ndarray
    source: str
    sha256: str


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What to judge by.

    Attributes:
        topic: the labels; None takes the camera's own.
        tolerance_ms: how far a label's stamp may be from its image's, in milliseconds.
        label_map: what the stored numbers or colours mean; None: the numbers are the model's class ids.
        ignore_id: a stored number 0..255 that is not judged, besides the model's own ignored id; None: there is none.
        mask: which pixels are judged; None: all.
        view: the camera above the road, for regions by distance; None: by rows.
    """

    topic: str | None = None
    tolerance_ms: float = 0.0
    label_map: LabelMap | None = None
    ignore_id: int | None = None
    mask: Mask | None = None
    view: CameraView | None = None


def read_mask(path: Path) -> Mask:
    """Read a picture of which pixels are judged: those where it is white.

    Raises:
        DatasetError: it cannot be read, is not black and white alone, or leaves out every pixel.
    """
    picture = read_image(path)
    white: np.ndarray = (picture == 255).all(axis=2)
    if not (white | (picture == 0).all(axis=2)).all():
        raise DatasetError(
            f"the mask {path} has other colours than black and white; paint white what is judged, black what is not, "
            "and save it as PNG"
        )
    if not white.any():
        raise DatasetError(f"the mask {path} is black everywhere, so that nothing would be judged; paint white what is")
    return Mask(white, str(path), file_sha256(path))


def choose_label_topic(bag: Bag, image: Topic, requested: str | None) -> tuple[Topic | None, list[str]]:
    """Find the ground truth of a camera: the requested topic, else the one called `label` beside the camera's images, else the
    bag's only one, unless that is another camera's.

    Returns:
        The topic or None, and as sentences what a reader has to know of the choice.

    Raises:
        BagError: the requested topic is not there, carries no images, or is empty.
    """
    others = {topic.namespace: topic.name for topic in bag.camera_topics() if topic.name not in (image.name, requested)}
    others.pop(image.namespace, None)
    if requested is not None:
        topic = bag.label_topic(requested)
        owner = others.get(topic.namespace)
        foreign = f"the ground truth {topic.name} lies beside {owner}, and is used for {image.name} as asked"
        return topic, [foreign] if owner else []
    found = [topic for topic in bag.label_topics() if topic.count and topic.name != image.name]
    said = [f"{topic.name} holds no messages" for topic in bag.label_topics() if not topic.count]
    own = [topic for topic in found if topic.namespace in (image.namespace, image.base)]
    if own:
        rest = [topic.name for topic in own[1:]]
        return own[0], said + (
            [f"of several label topics of {image.name}, {own[0].name} is used, not {', '.join(rest)}"] if rest else []
        )
    names = ", ".join(topic.name for topic in found)
    if len(found) == 1 and found[0].namespace not in others:
        return found[0], [
            *said,
            f"the ground truth {names} does not lie beside {image.name}; it is used as the only one",
        ]
    if found:
        said.append(
            f"nothing is judged: no label topic lies beside {image.name}; choose one with --label-topic: {names}"
        )
    return None, said
