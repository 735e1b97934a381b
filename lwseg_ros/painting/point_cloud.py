"""sensor_msgs/PointCloud2 <-> numpy. Duck-typed: knows the fields of the message, not ROS."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lwseg_ros.errors import PointCloudError

# PointField's datatype INT8 to FLOAT64.
_SCALARS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_UINT8, _FLOAT32 = 2, 7
MAX_POINTS = 4_000_000
"""Of one cloud; a lidar's sweep has up to half a million."""
# Of one point, which numpy counts in a C int.
_LARGEST_STEP = 2**31 - 1
# What drivers call the time of a point.
_TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time")
# No sweep lasts longer.
_LONGEST_SWEEP_NS = 1_000_000_000
# Absolute times in nanoseconds and in seconds are above these; both are in the seventies.
_ABSOLUTE_NS, _ABSOLUTE_S = 1e17, 1e8


def read_points(message: Any) -> np.ndarray:
    """Look at a PointCloud2's points: a structured array [N] with its fields, in the message's byte order, row after row.

    A view of the message where its rows have no padding.

    Raises:
        PointCloudError: the fields contradict each other or the data's size, or there are more than MAX_POINTS points.
    """
    height, width, step, row_step = (
        int(message.height),
        int(message.width),
        int(message.point_step),
        int(message.row_step),
    )
    if height * width > MAX_POINTS:
        raise PointCloudError(f"it has {height * width} points; at most {MAX_POINTS} are taken: thin it out")
    dtype = _point_type(message, step)
    if height * width == 0:
        return np.empty(0, dtype)
    if height == 1:
        row_step = width * step  # nothing follows, so that what it says tells nothing
    if row_step < width * step:
        raise PointCloudError(f"row_step {row_step} is too small for {width} points of {step} bytes")
    data = np.frombuffer(message.data, np.uint8)
    needed = (height - 1) * row_step + width * step
    if len(data) < needed:
        raise PointCloudError(
            f"its data is truncated: {len(data)} bytes, but {height} x {width} points of {step} bytes take {needed}"
        )
    points: np.ndarray = np.ndarray((height, width), dtype, buffer=data, strides=(row_step, step))
    return points.reshape(-1)


def positions(points: np.ndarray) -> np.ndarray:
    """Copy x, y and z of `read_points`' array to [3, N], float32, or float64 where one of them is.

    A point at the origin, as drivers write where no beam came back, becomes nan.

    Raises:
        PointCloudError: one of the three is missing or no single float.
    """
    names = points.dtype.names or ()
    kinds = []
    for axis in "xyz":
        if axis not in names:
            raise PointCloudError(f"it has no field {axis}; there are: {', '.join(names) or 'none'}")
        kind = points.dtype[axis]
        if kind.kind != "f" or kind.shape:
            raise PointCloudError(f"its field {axis} is {kind}; accepted: FLOAT32 or FLOAT64, count 1")
        kinds.append(kind.newbyteorder("="))
    out = np.empty((3, len(points)), np.result_type(*kinds))
    for row, axis in zip(out, "xyz", strict=True):
        row[:] = points[axis]
    out[:, ~out.any(axis=0)] = np.nan
    return out


def point_times_ns(
    points: np.ndarray, stamp_ns: int, field: str = "auto", *, has_echo: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64] | None:
    """Give the time of every point, nanoseconds on the stamp's clock, int64 [N]; None where the cloud has none.

    Whole numbers are nanoseconds after the stamp, float32 seconds after it; float64 is that too, or seconds or nanoseconds
    since 1970, whichever its values can be. field: its name; auto takes the first of the usual names; empty: none. has_echo:
    which points count, bool [N]; what others say of their time may be anything. These, and points whose time is not finite, get
    the time within the sweep that is nearest to the stamp.

    Raises:
        PointCloudError: the field is missing or no number, or its times are more than a second off the stamp.
    """
    names = points.dtype.names or ()
    if field == "auto":
        field = next((name for name in _TIME_FIELDS if name in names), "")
    if not field or not len(points):
        return None
    if field not in names:
        raise PointCloudError(f"it has no field {field} for the points' times; there are: {', '.join(names)}")
    if points.dtype[field].shape:
        raise PointCloudError(f"its field {field} holds {points.dtype[field].shape[0]} numbers a point; a time is one")
    has_time = np.isfinite(points[field])
    if has_echo is not None:
        has_time &= has_echo
    values = points[field][has_time]
    if not len(values):
        return None
    if values.dtype.kind == "f":
        # In float32 all times of a sweep since 1970 are the same.
        largest = values.max() if values.dtype.itemsize == 8 else 0.0
        if largest > _ABSOLUTE_NS:
            offsets = values - float(stamp_ns)
        else:
            offsets = ((values - stamp_ns / 1e9) if largest > _ABSOLUTE_S else values.astype(np.float64)) * 1e9
    else:
        offsets = values.astype(np.int64)
    lowest, highest = float(offsets.min()), float(offsets.max())
    if lowest < -_LONGEST_SWEEP_NS or highest > _LONGEST_SWEEP_NS:
        raise PointCloudError(
            f"its field {field} says {lowest / 1e9:g} to {highest / 1e9:g} s after the stamp, which is no sweep; name the field "
            "of the points' times, or none"
        )
    times_ns = np.full(len(points), stamp_ns + int(min(max(0.0, lowest), highest)), np.int64)
    times_ns[has_time] = offsets.astype(np.int64) + stamp_ns
    return times_ns


def fill_painted(
    message: Any,
    source: Any,
    points: np.ndarray,
    columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    *,
    make_field: Callable[..., Any],
    keep: np.ndarray | None = None,
) -> None:
    """Fill a PointCloud2 with a cloud's points and, behind their own fields, rgb, label, uncertainty and accepted.

    Fields of these names that the source has are left out. Header, and with all points height and width, are the source's.

    Args:
        points: [N], as `read_points` gave them.
        columns: label, uncertainty, accepted, uint8 [N], and rgb, uint32 [N], 0x00RRGGBB.
        make_field: sensor_msgs/PointField.
        keep: which points to write, bool [N]; then the cloud is unorganised. None: all.
    """
    label, uncertainty, accepted, rgb = columns
    if keep is not None:
        points, label, uncertainty, accepted, rgb = (
            column[keep] for column in (points, label, uncertainty, accepted, rgb)
        )
    old_step = points.dtype.itemsize
    start = -(-old_step // 4) * 4
    order = ">" if source.is_bigendian else "<"
    names = ["points", "rgb", "label", "uncertainty", "accepted"]
    formats = [f"V{old_step}", f"{order}u4", "u1", "u1", "u1"]
    offsets = [0, start, start + 4, start + 5, start + 6]
    row = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": start + 8})
    out = np.zeros(len(points), row)
    out["points"] = points.view(f"V{old_step}") if points.flags.c_contiguous else points.copy().view(f"V{old_step}")
    for name, column in zip(names[1:], (rgb, label, uncertainty, accepted), strict=True):
        out[name] = column

    message.header = source.header
    message.height, message.width = (source.height, source.width) if keep is None else (1, len(points))
    message.fields = [field for field in source.fields if field.name not in names[1:]] + [
        make_field(name=name, offset=offset, datatype=_FLOAT32 if name == "rgb" else _UINT8, count=1)
        for name, offset in zip(names[1:], offsets[1:], strict=True)
    ]
    message.is_bigendian = source.is_bigendian
    message.is_dense = source.is_dense
    message.point_step = start + 8
    message.row_step = message.width * message.point_step
    data = array.array("B")  # which rosidl takes as it is, and everything else element by element
    data.frombytes(out.view(np.uint8).data)
    message.data = data


def _point_type(message: Any, step: int) -> np.dtype:
    order = ">" if message.is_bigendian else "<"
    formats: list[tuple[str, Any, int]] = []
    for field in message.fields:
        scalar = _SCALARS.get(field.datatype)
        if scalar is None:
            raise PointCloudError(f"its field {field.name!r} has the datatype {field.datatype}; there are 1 to 8")
        count = max(int(field.count), 1)  # some drivers leave it at 0
        size = count * int(scalar[1])
        if field.offset + size > step:
            raise PointCloudError(
                f"its field {field.name!r} ends at byte {field.offset + size}, after the point's end at {step}"
            )
        formats.append((field.name, f"{order}{scalar}" if count == 1 else (f"{order}{scalar}", (count,)), field.offset))
    if step > _LARGEST_STEP:
        raise PointCloudError(f"its point_step is {step} bytes; accepted: up to {_LARGEST_STEP}")
    names = [name for name, _, _ in formats]
    if len(set(names)) < len(names) or "" in names:
        raise PointCloudError(f"its fields are {', '.join(map(repr, names))}; accepted: names, each once")
    return np.dtype(
        {
            "names": names,
            "formats": [kind for _, kind, _ in formats],
            "offsets": [offset for *_, offset in formats],
            "itemsize": step,
        }
    )
