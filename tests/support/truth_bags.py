"""Bags whose ground truth is sound, or wrong in one way each, with what a replay has to make of it.

`PYTHONPATH=.:tests python -m support.truth_bags DIR` writes them all into a folder, replays each with the tiny model, and prints
the table of what replay says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lwseg_ros.replay.ground_truth import GroundTruth, Mask
from lwseg_ros.replay.label_map import LabelMap
from support.bag_files import COMPRESSED_IMAGE, IMAGE, TYPES, header, image_message, write_messages
from support.tiny_model import CLASSES, painted_image

SIZE_HW = (48, 64)
NUM_FRAMES = 12
IMAGE_TOPIC, LABEL_TOPIC = "/front/image", "/front/label"
MS = 10**6
PERIOD_NS = 66 * MS
START_NS = 10**9
DAY_NS = 86_400 * 10**9
VOID = 255

Message = tuple[str, int, Any]
Truth = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class TruthBag:
    """A recording and what is expected of its replay.

    Attributes:
        what: about the ground truth, in words.
        messages: topic, log time in nanoseconds, message.
        truth: by frame, uint8 [H, W] in the model's ids, 255 where not judged: what is judged, by construction.
        says: regular expressions, one for each warning in their order.
        refused: regular expression of the error, for a bag that is not replayed.
        counts: of the labels, as far as they differ from one label a frame.
        topic: the camera's, where there are several.
        wanted: what the user asks for.
    """

    what: str
    messages: Sequence[Message]
    truth: Truth = field(default_factory=dict)
    says: Sequence[str] = ()
    refused: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    topic: str | None = None
    wanted: GroundTruth = field(default_factory=GroundTruth)


def scene(index: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Paint frame number `index` of a drive that pans: image uint8 BGR [H, W, 3], of which a part misleads, and truth uint8."""
    image, label = painted_image((SIZE_HW[0], SIZE_HW[1] + 4 * NUM_FRAMES), seed)
    window = np.s_[:, 4 * index : 4 * index + SIZE_HW[1]]
    image, label = image[window].copy(), label[window].copy()
    image[30:40, index : index + 16] = CLASSES[4].color_rgb[::-1]  # looks like a sign, and is none
    return image, label


SCENES = [scene(index) for index in range(NUM_FRAMES)]
TRUTH = {index: label for index, (_, label) in enumerate(SCENES)}


def stamp_ns(index: int) -> int:
    return START_NS + index * PERIOD_NS


def images(
    stamp: Callable[[int], int] = stamp_ns, log: Callable[[int], int] = stamp_ns, topic: str = IMAGE_TOPIC
) -> list[Message]:
    return [(topic, log(index), image_message(image, stamp(index))) for index, (image, _) in enumerate(SCENES)]


def labels(
    stamp: Callable[[int], int] = stamp_ns,
    log: Callable[[int], int] = stamp_ns,
    topic: str = LABEL_TOPIC,
    truth: Truth = TRUTH,
    message: Callable[[np.ndarray, int], Any] = image_message,
) -> list[Message]:
    return [(topic, log(index), message(label, stamp(index))) for index, label in truth.items()]


def by_log_time(*messages: Message) -> list[Message]:
    return sorted(messages, key=lambda item: item[1])


def some(indices: Sequence[int]) -> Truth:
    return {index: TRUTH[index] for index in indices}


def recoded(table: Mapping[int, int]) -> Truth:
    """Write the truth in other ids."""
    lookup = np.arange(256, dtype=np.uint8)
    for class_id, stored in table.items():
        lookup[class_id] = stored
    return {index: lookup[label] for index, label in TRUTH.items()}


def with_patch(value: int, indices: Sequence[int] = range(NUM_FRAMES)) -> Truth:
    """Put a patch of another id into the truth of some frames."""
    patched = {index: label.copy() for index, label in TRUTH.items()}
    for index in indices:
        patched[index][5:15, 20:40] = value
    return patched


def png_message(label: np.ndarray, stamp: int) -> Any:
    ok, png = cv2.imencode(".png", label)
    assert ok
    return TYPES[COMPRESSED_IMAGE](header(stamp), "png", png)


def grey_jpeg_message(label: np.ndarray, stamp: int) -> Any:
    ok, jpeg = cv2.imencode(".jpg", label)
    assert ok
    return TYPES[COMPRESSED_IMAGE](header(stamp), "mono8; jpeg compressed", jpeg)


def mono16_message(label: np.ndarray, stamp: int) -> Any:
    height, width = label.shape
    data = label.astype("<u2").view(np.uint8).ravel()
    return TYPES[IMAGE](header(stamp), height, width, "mono16", 0, 2 * width, data)


def broken(message: Message) -> Message:
    """Cut the last byte off an image."""
    topic, log_ns, image = message
    return topic, log_ns, replace(image, data=image.data[:-1])


PALETTE_BGR = np.array([info.color_rgb[::-1] for info in CLASSES], np.uint8)
COLORED = {index: PALETTE_BGR[label] for index, label in TRUTH.items()}
STRAY = {index: colored.copy() for index, colored in COLORED.items()}
STRAY[4][7, 8:11] = (1, 2, 3)
STRAY_TRUTH = {index: label.copy() for index, label in TRUTH.items()}
STRAY_TRUTH[4][7, 8:11] = VOID
COLOR_MAP = LabelMap("colours.yaml", {}, {info.color_rgb: (info.name,) for info in CLASSES})

PERMUTED = {0: 2, 1: 3, 2: 1, 3: 0}
PERMUTED_MAP = LabelMap("others.yaml", {PERMUTED.get(info.id, info.id): (info.name,) for info in CLASSES}, {})
COARSE_MAP = LabelMap(
    "coarse.yaml",
    {0: ("road",), 1: ("tree",), 2: ("sky",), 3: ("truck", "car"), 4: ("bollard", None), 255: (None,)},
    {},
)

MASK = np.ones(SIZE_HW, bool)
MASK[36:] = False

HALF = {index: label[::2, ::2] for index, label in TRUTH.items()}
HALF_JUDGED = {index: label.repeat(2, 0).repeat(2, 1) for index, label in HALF.items()}
NARROW = {index: label[:, :48] for index, label in TRUTH.items()}
BLANK = {index: label if index % 2 else np.full_like(label, VOID) for index, label in TRUTH.items()}
EVERY_THIRD = range(0, NUM_FRAMES, 3)
SHUFFLED = [0, 1, 2, 3, 6, 4, 5, 7, 8, 10, 9, 11]
SOUND_IMAGES = (2, 7)


def front_and_rear(*labelled: str) -> list[Message]:
    """Record two cameras at the same time: the front one sees the drive, the rear one its end first."""
    messages = [*images(), *images(backwards, backwards, topic="/rear/image")]
    if "front" in labelled:
        messages += labels()
    if "rear" in labelled:
        messages += labels(backwards, backwards, topic="/rear/label")
    return by_log_time(*messages)


def backwards(index: int) -> int:
    return stamp_ns(NUM_FRAMES - 1 - index)


def near(index: int) -> int:
    """Stamps that are 2 ms late in all but 5 frames."""
    return stamp_ns(index) + (0 if index < 5 else 2 * MS)


def ahead(index: int) -> int:
    return stamp_ns(index + 5) + 2 * MS


def zero(_: int) -> int:
    return 0


def reset(index: int) -> int:
    """A clock that is set back by two intervals and a half."""
    return stamp_ns(index) - (0 if index < 6 else 5 * PERIOD_NS // 2)


NOT_ALL = r"only {} of 12 images were judged"

BAGS: dict[str, TruthBag] = {
    "sound": TruthBag("a label for each image, of its stamp", [*images(), *labels()], TRUTH),
    "png": TruthBag(
        "labels compressed as PNG", [*images(), *labels(message=png_message, topic=f"{LABEL_TOPIC}/compressed")], TRUTH
    ),
    "a day before": TruthBag(
        "labels logged a day before the images",
        by_log_time(*images(log=lambda index: stamp_ns(index) + DAY_NS), *labels()),
        TRUTH,
    ),
    "a day later": TruthBag(
        "labels logged a day after the images",
        by_log_time(*images(), *labels(log=lambda index: stamp_ns(index) + DAY_NS)),
        TRUTH,
    ),
    "4 s late": TruthBag(
        "labels logged 4 s after their images",
        by_log_time(*images(), *labels(log=lambda index: stamp_ns(index) + 4 * 10**9)),
        TRUTH,
    ),
    "twice the labels": TruthBag(
        "a label between any two images besides",
        [*images(), *labels(), *labels(stamp=lambda index: stamp_ns(index) + PERIOD_NS // 2)],
        TRUTH,
        [
            r"12 of 24 labels on /front/label belong to no image on /front/image: their stamps are 33 ms from the nearest"
        ],
        counts={"messages": 24, "unmatched": 12},
    ),
    "2 ms off": TruthBag(
        "stamps 2 ms apart in all but 5 frames",
        [*images(), *labels(stamp=near)],
        some(range(5)),
        [r"7 of 12 labels .* 2 ms from the nearest \(median\); --label-tolerance 2 would pair", NOT_ALL.format(5)],
        counts={"matched": 5, "unmatched": 7},
    ),
    "2 ms off, tolerated": TruthBag(
        "the same with a label tolerance of 3 ms",
        [*images(), *labels(stamp=near)],
        TRUTH,
        [r"7 labels on /front/label are stamped up to 2 ms from their images"],
        counts={"within_tolerance": 7},
        wanted=GroundTruth(tolerance_ms=3.0),
    ),
    "a clock ahead": TruthBag(
        "all labels stamped five images and 2 ms too late",
        [*images(), *labels(stamp=ahead)],
        refused=r"has the stamp of a label; .* 12 of 12 labels .*, and up to 332 ms: if one clock is ahead, those that are near",
    ),
    "a clock ahead, tolerated": TruthBag(
        "the same with a label tolerance of 3 ms",
        [*images(), *labels(stamp=ahead)],
        {index + 5: TRUTH[index] for index in range(NUM_FRAMES - 5)},
        [
            r"7 labels on /front/label are stamped up to 2 ms from their images",
            r"5 of 12 labels .*: if one clock is ahead, those that are near an image belong to another",
        ],
        counts={"matched": 7, "unmatched": 5, "within_tolerance": 7},
        wanted=GroundTruth(tolerance_ms=3.0),
    ),
    "zero stamps": TruthBag(
        "all stamps zero, a label for each image",
        by_log_time(*images(stamp=zero), *labels(stamp=zero, log=lambda index: stamp_ns(index) + 5 * MS)),
        TRUTH,
        [r"12 labels on /front/label share their stamp with others: by their log times"],
        counts={"by_log_time": 12},
    ),
    "zero stamps, some labels": TruthBag(
        "all stamps zero, a label for every third image",
        by_log_time(*images(stamp=zero), *labels(stamp=zero, truth=some(EVERY_THIRD))),
        refused=r"no image on /front/image .* has a label that is surely its own; .* 4 labels on /front/label are not used",
    ),
    "a day off": TruthBag(
        "labels stamped a day later than their images",
        [*images(), *labels(stamp=lambda index: stamp_ns(index) + DAY_NS)],
        refused=r"no image on /front/image .* has the stamp of a label; .* their stamps are 86399\.6 s from the nearest",
    ),
    "a label twice": TruthBag(
        "two labels for one image",
        [*images(), *labels(), *labels(truth=some([4]))],
        some([index for index in range(NUM_FRAMES) if index != 4]),
        [r"2 labels on /front/label are not used: several images or labels carry the same stamp"],
        counts={"messages": 13, "matched": 11, "ambiguous": 2},
    ),
    "an image twice": TruthBag(
        "one stamp for two images and their labels",
        [*images(stamp=lambda index: stamp_ns(min(index, 10))), *labels(stamp=lambda index: stamp_ns(min(index, 10)))],
        TRUTH,
        [r"2 labels on /front/label share their stamp with others"],
        counts={"by_log_time": 2},
    ),
    "every third": TruthBag(
        "a label for every third image",
        [*images(), *labels(truth=some(EVERY_THIRD))],
        some(EVERY_THIRD),
        [NOT_ALL.format(4)],
        counts={"messages": 4, "matched": 4},
    ),
    "no labels": TruthBag("no ground truth", images(), counts={"messages": 0, "matched": 0}),
    "the other camera's": TruthBag(
        "labels of the front camera alone, rear camera replayed",
        front_and_rear("front"),
        says=[
            r"nothing is judged: no label topic lies beside /rear/image; choose one with --label-topic: /front/label"
        ],
        counts={"messages": 0, "matched": 0},
        topic="/rear/image",
    ),
    "the other camera's, asked for": TruthBag(
        "the same, with the front camera's labels asked for",
        front_and_rear("front"),
        TRUTH,
        [r"the ground truth /front/label lies beside /front/image, and is used for /rear/image as asked"],
        topic="/rear/image",
        wanted=GroundTruth(topic=LABEL_TOPIC),
    ),
    "two cameras": TruthBag(
        "two cameras, each with its labels; the front one replayed",
        front_and_rear("front", "rear"),
        TRUTH,
        topic=IMAGE_TOPIC,
    ),
    "two label topics": TruthBag(
        "labels raw and as PNG",
        [*images(), *labels(), *labels(message=png_message, topic=f"{LABEL_TOPIC}/compressed")],
        TRUTH,
        [r"of several label topics of /front/image, /front/label is used, not /front/label/compressed"],
    ),
    "elsewhere": TruthBag(
        "the only labels are not beside the camera",
        [*images(), *labels(topic="/annotation/label")],
        TRUTH,
        [r"the ground truth /annotation/label does not lie beside /front/image; it is used as the only one"],
    ),
    "several elsewhere": TruthBag(
        "two label topics, neither of them beside the camera",
        [*images(), *labels(topic="/people/label"), *labels(topic="/network/label", truth=with_patch(1))],
        says=[r"nothing is judged: no label topic lies beside /front/image; .*: /network/label, /people/label"],
        counts={"messages": 0, "matched": 0},
    ),
    "out of order": TruthBag(
        "images recorded out of order",
        [*(images()[index] for index in SHUFFLED), *labels()],
        {place: TRUTH[index] for place, index in enumerate(SHUFFLED)},
        [r"images on /front/image are stamped earlier than the one recorded before, 2 of them: temporal consistency"],
    ),
    "clock set back": TruthBag(
        "a clock that is set back during the drive",
        [*images(stamp=reset), *labels(stamp=reset)],
        TRUTH,
        [r"images on /front/image are stamped earlier than the one recorded before, 1 of them"],
    ),
    "permuted ids": TruthBag(
        "labels in another order of ids",
        [*images(), *labels(truth=recoded(PERMUTED))],
        recoded(PERMUTED),
        [
            r"number its classes otherwise than the model: with other ids the mIoU would be .* 2 \(sky\) is predicted as 0 \(road\)"
        ],
    ),
    "permuted ids, mapped": TruthBag(
        "the same with a label map",
        [*images(), *labels(truth=recoded(PERMUTED))],
        TRUTH,
        wanted=GroundTruth(label_map=PERMUTED_MAP),
    ),
    "coarse map": TruthBag(
        "a label map with a class that the model lacks, and none for one that it has",
        [*images(), *labels()],
        recoded({4: VOID}),
        [
            r"the label map coarse\.yaml has classes that the model lacks; not judged are bollard",
            r"coarse\.yaml gives nothing to the model's classes sign: wherever they are predicted they count as wrong",
        ],
        wanted=GroundTruth(label_map=COARSE_MAP),
    ),
    "a stray id": TruthBag(
        "one label holds an id that is no class",
        [*images(), *labels(truth=with_patch(200, [9]))],
        refused=r"frame 9: label on /front/label at \d+ ns holds the values \[200\]; accepted are 0 to 4, 255",
    ),
    "a stray id, ignored": TruthBag(
        "the same with that id ignored",
        [*images(), *labels(truth=with_patch(200, [9]))],
        with_patch(VOID, [9]),
        wanted=GroundTruth(ignore_id=200),
    ),
    "a class ignored": TruthBag(
        "a class of the model ignored",
        [*images(), *labels()],
        recoded({1: VOID}),
        [r"--ignore-id 1 is the class tree in the labels, which is not judged"],
        wanted=GroundTruth(ignore_id=1),
    ),
    "void": TruthBag(
        "a patch of each label has no class", [*images(), *labels(truth=with_patch(VOID))], with_patch(VOID)
    ),
    "blank labels": TruthBag(
        "every second label is void",
        [*images(), *labels(truth=BLANK)],
        some(range(1, NUM_FRAMES, 2)),
        [r"6 of 12 images with ground truth were not judged"],
    ),
    "half the size": TruthBag(
        "labels of half the images' size",
        [*images(), *labels(truth=HALF)],
        HALF_JUDGED,
        [r"12 labels are of another size than their images, and are resized"],
        counts={"resized": 12},
    ),
    "another shape": TruthBag(
        "labels that show less than their images",
        [*images(), *labels(truth=NARROW)],
        refused=r"frame 0: the label on /front/label at 1000000000 ns .* is 48 x 48 pixels .* its image 48 x 64",
    ),
    "colours": TruthBag(
        "labels in colours, without a label map",
        [*images(), *labels(truth=COLORED)],
        refused=r"frame 0: the label on /front/label .* has to be mono8 .* colours need a --label-map",
    ),
    "colours, mapped": TruthBag(
        "the same with a label map", [*images(), *labels(truth=COLORED)], TRUTH, wanted=GroundTruth(label_map=COLOR_MAP)
    ),
    "stray colours": TruthBag(
        "a few pixels in a colour of no class",
        [*images(), *labels(truth=STRAY, message=png_message)],
        STRAY_TRUTH,
        [r"3 of 36864 pixels of the labels have a colour that the label map lacks, and are not judged"],
        wanted=GroundTruth(label_map=COLOR_MAP),
    ),
    "ids, colours mapped": TruthBag(
        "labels of ids with a label map of colours",
        [*images(), *labels()],
        refused=r"frame 0: the label on /front/label .* for a label map of colours it has to be rgb8 or bgr8",
        wanted=GroundTruth(label_map=COLOR_MAP),
    ),
    "jpeg": TruthBag(
        "labels compressed as JPEG",
        [*images(), *labels(message=grey_jpeg_message)],
        refused=r"frame 0: the label on /front/label .* is a JPEG, which changes ids",
    ),
    "16 bits": TruthBag(
        "labels of 16 bits",
        [*images(), *labels(message=mono16_message)],
        refused=r"frame 0: the label on /front/label .* is uint16 \(48, 64\); it has to be mono8",
    ),
    "mask": TruthBag(
        "the lowest quarter masked out",
        [*images(), *labels()],
        {index: np.where(MASK, label, np.uint8(VOID)) for index, label in TRUTH.items()},
        [r"the mask leaves out 25\.0% of the pixels"],
        wanted=GroundTruth(mask=Mask(MASK, "mask.png", "5a" * 32)),
    ),
    "damaged images": TruthBag(
        "most images cannot be decoded",
        [*(item if index in SOUND_IMAGES else broken(item) for index, item in enumerate(images())), *labels()],
        some(SOUND_IMAGES),
        [
            NOT_ALL.format(2),
            r"10 of 12 images with ground truth were not judged: they were dropped or cannot be decoded",
        ],
    ),
}


def main(folder: Path) -> None:
    """Write and replay every bag, and print the table."""
    from lwseg_ros.errors import LwsegError
    from lwseg_ros.replay.offline import replay_offline
    from lwseg_ros.segmenter import Segmenter
    from support.tiny_model import write_tiny_model

    folder.mkdir(parents=True)
    model = write_tiny_model(folder / "tiny.onnx")
    print("| bag | images, judged | mIoU | what replay says |\n| --- | --- | --- | --- |")
    with Segmenter.open(model.path, "onnxruntime") as segmenter:
        for number, (name, bag) in enumerate(BAGS.items()):
            path = write_messages(folder / f"{number:02}_{name.replace(' ', '_').replace(',', '')}", bag.messages)
            try:
                result = replay_offline(path, segmenter, topic=bag.topic, ground_truth=bag.wanted)
            except LwsegError as error:
                print(f"| {bag.what} | refused | | {str(error).replace(str(folder), '')} |")
                continue
            figures = result.figures()
            counts, miou = figures["truth"], figures["miou"]
            said = ". ".join(result.warnings) or ("" if counts["judged"] else "none: nothing was judged")
            print(f"| {bag.what} | {counts['images']}, {counts['judged']} | {miou and round(miou, 4)} | {said} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
