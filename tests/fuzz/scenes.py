"""What the node `paint` has when it paints a sweep: a cloud in any layout, and a camera of any size and place, all sound."""

from __future__ import annotations

import array
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField

from fuzz.runner import pick
from lwseg_ros.node.paint.parameters import PaintSettings
from lwseg_ros.painting import rigid

SECOND_NS = 1_000_000_000
STAMP_NS = 1_700_000_000 * SECOND_NS
SWEEP_NS = 100_000_000
# Name, numpy's type, PointField's datatype.
TIME_FIELDS = (("t", "u4", 6), ("time", "f4", 7), ("timestamp", "f8", 8))
EXTRA_FIELDS = (("intensity", "f4", 7), ("ring", "u2", 4), ("label", "u1", 2), ("rgb", "u4", 6))


@dataclass
class Scene:
    """What the node `paint` has when it paints a sweep, and what has to come of it while all of that is sound.

    Attributes:
        cloud: sensor_msgs/PointCloud2 of N points.
        info: sensor_msgs/CameraInfo.
        images: label, uncertainty and accepted, uint8 [H, W].
        transforms: arguments of `TransformBuffer.add`; the first is of the camera.
        label_info_json: what the labels mean.
        pixel: in which row and column each point is, int [2, N]; negative where the camera does not see it.
    """

    cloud: Any
    info: Any
    images: dict[str, np.ndarray]
    transforms: list[dict[str, Any]]
    label_info_json: str
    settings: PaintSettings
    pixel: np.ndarray


def sound_scene(rng: np.random.Generator) -> Scene:
    """Make a cloud in any layout whose points lie in known pixels of a camera of any size and place."""
    size_hw = tuple(int(side) for side in rng.integers(4, 40, 2))
    info = CameraInfo(height=size_hw[0], width=size_hw[1], distortion_model="plumb_bob", d=[0.0] * 5)
    (fx, fy), (cx, cy) = rng.uniform(10, 60, 2), rng.uniform(0.2, 0.8, 2) * (size_hw[1] - 1, size_hw[0] - 1)
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]

    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 20))
    pixel = np.stack([rng.integers(side, size=rows * columns) for side in size_hw])
    place = pixel + rng.uniform(-0.4, 0.4, pixel.shape)
    depth = rng.uniform(2, 50, rows * columns)
    points = np.stack([(place[1] - cx) / fx * depth, (place[0] - cy) / fy * depth, depth])
    turn = rng.normal(size=4)
    turn /= np.linalg.norm(turn)
    shift = rng.uniform(-5, 5, 3)
    pose = rigid.inverse(rigid.matrix(shift, turn))  # of the camera in the lidar's frame, as in a transform
    is_behind, is_missing = rng.random((2, rows * columns)) < 0.1
    points[:, is_behind] *= -1
    points = pose[:3, :3] @ points + pose[:3, 3:]
    points[:, is_missing] = pick(rng, [0.0, np.nan])
    pixel[:, is_behind | is_missing] = -1

    camera = {"parent": "front", "child": "lidar", "stamp_ns": 0, "translation": shift, "quaternion": turn}
    is_moving = bool(rng.integers(2))
    still = {
        "parent": "odom",
        "child": "front",
        "translation": np.zeros(3),
        "quaternion": np.array([0.0, 0.0, 0.0, 1.0]),
    }
    transforms = [camera | {"is_static": True}]
    if is_moving:
        transforms += [still | {"stamp_ns": STAMP_NS + seconds * SECOND_NS} for seconds in (-1, 1)]
    has_accepted = bool(rng.integers(2))
    return Scene(
        cloud=_cloud(points, (rows, columns), rng),
        info=info,
        images={
            "label": rng.integers(256, size=size_hw, dtype=np.uint8),
            "uncertainty": rng.integers(256, size=size_hw, dtype=np.uint8),
            "accepted": rng.choice(np.array([0, 255], np.uint8), size_hw),
        },
        transforms=transforms,
        label_info_json=json.dumps(
            {
                "classes": [{"id": number, "name": "c", "color_rgb": [number, 0, 255]} for number in range(3)],
                "ignore_id": pick(rng, [None, 0, 11, 255]),
                **({"level": 0.1} if has_accepted else {}),
            }
        ),
        settings=PaintSettings(
            fixed_frame="odom" if is_moving else "",
            rectified=bool(rng.integers(2)),
            unseen_points=pick(rng, ["keep", "drop"]),
            occlusion_angle_deg=pick(rng, [0.0, 0.5, 5.0]),
            max_wait_ms=0.0,
        ),
        pixel=pixel,
    )


def _cloud(points: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    """Write points [3, N] as a PointCloud2 in either byte order, with other fields, gaps and padded rows."""
    order = pick(rng, "<>")
    kind = pick(rng, [("f4", 7), ("f8", 8)])
    fields = [(axis, *kind) for axis in "xyz"]
    timed = pick(rng, [None, *TIME_FIELDS])
    fields += [timed] if timed else []
    fields += [field for field in EXTRA_FIELDS if rng.random() < 0.3]
    fields = [fields[index] for index in rng.permutation(len(fields))]
    step, message = 0, PointCloud2(height=shape[0], width=shape[1], is_bigendian=order == ">")
    for name, scalar, datatype in fields:
        step += int(rng.choice([0, 0, 1, 4]))
        message.fields.append(PointField(name=name, offset=step, datatype=datatype, count=1))
        step += int(scalar[1])
    message.point_step = step + int(rng.choice([0, 0, 3]))
    layout = np.dtype(
        {
            "names": [name for name, *_ in fields],
            "formats": [order + scalar for _, scalar, _ in fields],
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    table = np.frombuffer(rng.bytes(points.shape[1] * message.point_step), layout).copy()
    for axis, values in zip("xyz", points, strict=True):
        table[axis] = values
    if timed:
        offsets_ns = np.sort(rng.integers(0, SWEEP_NS, points.shape[1]))
        is_absolute = bool(rng.integers(2))
        table[timed[0]] = {
            "u4": offsets_ns,
            "f4": offsets_ns / SECOND_NS,
            "f8": (offsets_ns + is_absolute * STAMP_NS) / SECOND_NS,
        }[timed[1]]
        if rng.integers(2):  # as drivers write where no beam came back
            table[timed[0]][~np.isfinite(points).all(axis=0) | ~points.any(axis=0)] = 0
    padding = int(rng.choice([0, 0, 5]))
    message.row_step = shape[1] * message.point_step + padding
    lines = np.zeros((shape[0], message.row_step), np.uint8)
    lines[:, : message.row_step - padding] = table.view(np.uint8).reshape(shape[0], -1)
    message.data = array.array("B", lines.tobytes())
    message.header.frame_id = "lidar"
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(STAMP_NS, SECOND_NS)
    return message
