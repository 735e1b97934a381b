"""Sweeps: clouds, calibrations, transforms and label_info_json at odds with themselves or each other, painted as `paint` does."""

from __future__ import annotations

import array
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from fuzz.damage import damaged
from fuzz.runner import pick, refused
from fuzz.scenes import SECOND_NS, STAMP_NS, SWEEP_NS, TIME_FIELDS, Scene, sound_scene
from lwseg_ros.errors import ImageError, TransformError
from lwseg_ros.node.paint.classes import LabelClasses
from lwseg_ros.node.paint.sources import Sources
from lwseg_ros.node.paint.sweep_queue import Sweep, SweepQueue
from lwseg_ros.node.paint.worker import SWEEP_CAUSES, MissingError, PaintedSweep, PaintWorker
from lwseg_ros.node.statistics import FrameStatistics
from lwseg_ros.painting.point_cloud import fill_painted, read_points
from lwseg_ros.painting.transforms import TransformBuffer

PAINTED = ("rgb", "label", "uncertainty", "accepted")
NUMBERS = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e-300, 1e-9, 0.5, 1e9, 1e38, 1e300, -1e300)
UNSIGNED = (0, 1, 2, 3, 7, 255, 2**16, 2**21, 2**31 - 1, 2**31, 2**32 - 1)
SIGNED = (-(2**31), -1, 0, 1, 2**31 - 1)
NAMES = ("", "x", "/", "lidar", "front", "odom", "rgb", "points", "\0", "é", "\x1b[2J", " x")
MODELS = ("", "plumb_bob", "rational_polynomial", "equidistant", "fisheye")
VALUES = (None, True, -1, 256, 10**400, 1e400, 0.5, "1", "", [], [-1, 0, 256], {}, [[]])


def check(seed: int) -> str:
    """Make a scene, in two of five cases a sound one, which has to be painted as it was made; others may be refused by cause."""
    rng = np.random.default_rng([5, seed])
    scene = sound_scene(rng)
    number = int(rng.choice([0, 1, 2, 4], p=[0.4, 0.4, 0.15, 0.05]))
    for _ in range(number):
        pick(rng, DAMAGES)(scene, rng)
    try:
        result = painted(scene)
    except (MissingError, ImageError) as error:
        if not number:
            raise AssertionError("a sound sweep is refused") from error
        return f"{refused(error)} ({error.cause})" if isinstance(error, MissingError) else refused(error)
    judge(scene, result)
    if not number:
        judge_labels(scene, result)
    return "painted"


def painted(scene: Scene) -> PaintedSweep:
    """Do what the node does with a sweep; raises MissingError, and ImageError where label_info_json is none."""
    classes = LabelClasses.parse(scene.label_info_json)
    transforms = TransformBuffer()
    for transform in scene.transforms:
        try:
            transforms.add(**transform)
        except TransformError as error:  # the node reports it, and goes on without
            refused(error)
    queue = SweepQueue(["front"], time.monotonic())
    queue.classes = classes
    history = queue.histories["front"]
    history.expects_accepted = classes.has_accepted
    history.camera_info = scene.info
    for kind, image in scene.images.items():
        history.add(kind, STAMP_NS + SWEEP_NS // 2, "front", image)
        history.add(kind, STAMP_NS + 4 * SWEEP_NS, "front", 255 - image)
    found: list[PaintedSweep] = []
    worker = PaintWorker(
        queue,
        transforms,  # type: ignore[arg-type]
        settings=lambda: scene.settings,
        statistics=FrameStatistics(0.0, SWEEP_CAUSES),
        publish=found.append,
        report=lambda _: None,
        sources=Sources(),
    )
    worker._handle(Sweep(scene.cloud, time.monotonic() - 1))  # past its time: nothing more is waited for
    return found[0]


def judge(scene: Scene, result: PaintedSweep) -> None:
    """Compare the cloud that is published with the one that came, and with what it was painted; raises AssertionError."""
    of, keep = result.painted, result.painted.is_seen if scene.settings.unseen_points == "drop" else None
    message = PointCloud2()
    rgb = result.classes.rgb[of.label]
    fill_painted(
        message,
        scene.cloud,
        result.points,
        (of.label, of.uncertainty, of.accepted, rgb),
        make_field=PointField,
        keep=keep,
    )
    kept = slice(None) if keep is None else keep
    before, after = read_points(scene.cloud)[kept], read_points(message)
    own = [name for name in before.dtype.names or () if name not in PAINTED]
    assert after.dtype.names == (*own, *PAINTED)
    for name in own:
        np.testing.assert_array_equal(after[name], before[name])
    for name, column in (("label", of.label), ("uncertainty", of.uncertainty), ("accepted", of.accepted)):
        np.testing.assert_array_equal(after[name], column[kept])
    np.testing.assert_array_equal(after["rgb"].view(after["rgb"].dtype.str.replace("f", "u")), rgb[kept])
    unseen = ~of.is_seen
    assert (of.label[unseen] == result.classes.no_class).all()
    assert (of.uncertainty[unseen] == 255).all()
    assert not of.accepted[unseen].any()
    label = scene.images["label"]
    assert np.isin(of.label[of.is_seen], [*label.flat, *(255 - label).flat]).all()


def judge_labels(scene: Scene, result: PaintedSweep) -> None:
    """Compare labels with those of the pixels that the points were put into; raises AssertionError."""
    row, column = scene.pixel
    inside = row >= 0
    seen = result.painted.is_seen
    assert not seen[~inside].any()
    if not scene.settings.occlusion_angle_deg:
        np.testing.assert_array_equal(seen, inside)
    for kind in ("label", "uncertainty", *(["accepted"] if result.classes.has_accepted else [])):
        np.testing.assert_array_equal(
            getattr(result.painted, kind)[seen], scene.images[kind][row[seen], column[seen]], err_msg=kind
        )


def _number_of_points(scene: Scene, rng: np.random.Generator) -> None:
    name = pick(rng, ["height", "width", "point_step", "row_step"])
    value = getattr(scene.cloud, name)
    near = [max(value - 1, 0), min(value + 1, 2**32 - 1), min(value * 2, 2**32 - 1)]
    setattr(scene.cloud, name, pick(rng, [*UNSIGNED, *near]))


def _field(scene: Scene, rng: np.random.Generator) -> None:
    fields = scene.cloud.fields
    if not fields:
        return
    field = pick(rng, fields)
    match rng.integers(6):
        case 0:
            fields.remove(field)
        case 1:
            fields.append(field)
        case 2:
            field.name = pick(rng, [*NAMES, *(name for name, *_ in TIME_FIELDS)])
        case 3:
            field.offset = pick(rng, UNSIGNED)
        case 4:
            field.datatype = int(rng.integers(12))
        case _:
            field.count = pick(rng, UNSIGNED)


def _data(scene: Scene, rng: np.random.Generator) -> None:
    data = scene.cloud.data.tobytes()
    scene.cloud.data = array.array("B", pick(rng, [damaged(data, rng), data[: int(rng.integers(len(data) + 1))], b""]))


def _value(scene: Scene, rng: np.random.Generator) -> None:
    """Give some points a coordinate or a time that is no usual one."""
    cloud = scene.cloud
    field = pick(rng, cloud.fields) if cloud.fields else None
    if field is None or field.datatype not in (7, 8):
        return
    word = np.array(pick(rng, NUMBERS)).astype(f"{'>' if cloud.is_bigendian else '<'}f{4 * (field.datatype - 6)}")
    data = bytearray(cloud.data.tobytes())
    for start in range(field.offset, len(data) - word.nbytes + 1, max(cloud.point_step, 1) * int(rng.integers(1, 5))):
        data[start : start + word.nbytes] = word.tobytes()
    cloud.data = array.array("B", bytes(data))


def _header(scene: Scene, rng: np.random.Generator) -> None:
    header = scene.cloud.header
    match rng.integers(3):
        case 0:
            header.stamp.sec = pick(rng, SIGNED)
        case 1:
            header.stamp.nanosec = pick(rng, UNSIGNED)
        case _:
            header.frame_id = pick(rng, NAMES)


def _order(scene: Scene, rng: np.random.Generator) -> None:
    scene.cloud.is_bigendian = not scene.cloud.is_bigendian


def _calibration(scene: Scene, rng: np.random.Generator) -> None:
    info = scene.info
    match rng.integers(6):
        case 0:
            setattr(info, pick(rng, ["height", "width", "binning_x", "binning_y"]), pick(rng, UNSIGNED))
        case 1:
            setattr(info.roi, pick(rng, ["x_offset", "y_offset", "height", "width"]), pick(rng, UNSIGNED))
        case 2 | 3:
            matrix = getattr(info, pick(rng, ["k", "p", "r"]))
            matrix[int(rng.integers(len(matrix)))] = pick(rng, NUMBERS)
        case 4:
            info.distortion_model = pick(rng, MODELS)
        case _:
            info.distortion_model = pick(rng, MODELS[1:])
            info.d = [pick(rng, NUMBERS) if rng.random() < 0.3 else rng.normal() for _ in range(int(rng.integers(15)))]


def _transform(scene: Scene, rng: np.random.Generator) -> None:
    transform = pick(rng, scene.transforms)
    match rng.integers(4):
        case 0:
            numbers = transform[pick(rng, ["translation", "quaternion"])].copy()
            numbers[int(rng.integers(len(numbers)))] = pick(rng, NUMBERS)
            transform["translation" if len(numbers) == 3 else "quaternion"] = numbers
        case 1:
            transform[pick(rng, ["parent", "child"])] = pick(rng, NAMES)
        case 2:
            transform["stamp_ns"] = pick(rng, SIGNED) * SECOND_NS + pick(rng, UNSIGNED)
        case _:
            transform["is_static"] = not transform.get("is_static", False)


def _classes(scene: Scene, rng: np.random.Generator) -> None:
    text = scene.label_info_json
    if rng.random() < 0.5:
        deep = pick(rng, ["[", '{"classes":']) * 100_000
        scene.label_info_json = pick(rng, [damaged(text.encode(), rng).decode(errors="replace"), "", "null", deep])
        return
    try:
        said = json.loads(text)
        into = pick(rng, [said, said["classes"][0]])
        into[pick(rng, ["ignore_id", "classes", "level"] if into is said else ["id", "color_rgb"])] = pick(rng, VALUES)
    except (ValueError, TypeError, LookupError, RecursionError):  # already damaged
        return
    scene.label_info_json = json.dumps(said)


def _image(scene: Scene, rng: np.random.Generator) -> None:
    scene.images[pick(rng, list(scene.images))] = np.zeros(rng.integers(1, 50, 2), np.uint8)


def _settings(scene: Scene, rng: np.random.Generator) -> None:
    change: dict[str, Any] = pick(
        rng,
        [
            {"point_time_field": pick(rng, ["", "x", "ring", "intensity", "none"])},
            {"fixed_frame": pick(rng, NAMES)},
            {"occlusion_tolerance": pick(rng, [0.001, 0.5])},
            {"max_time_difference_ms": pick(rng, [0.0, 1000.0])},
        ],
    )
    scene.settings = replace(scene.settings, **change)


DAMAGES: tuple[Callable[[Scene, np.random.Generator], None], ...] = (
    *(_number_of_points, _field, _field, _data, _value, _value, _header, _order),
    *(_calibration, _calibration, _transform, _classes, _image, _settings),
)
