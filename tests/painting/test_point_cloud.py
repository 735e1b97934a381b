"""Point clouds of any layout, read and written; what is no cloud is refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lwseg_ros.errors import PointCloudError
from lwseg_ros.painting import point_cloud
from lwseg_ros.painting.point_cloud import fill_painted, point_times_ns, positions, read_points

XYZ = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [-1, np.nan, np.inf]], np.float32)
CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
STAMP_NS = 1_700_000_000_123_456_789


def field(name: str, offset: int, datatype: int, count: int = 1) -> SimpleNamespace:
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


def cloud(
    dtype: Any = None, height: int = 1, padding: int = 0, is_bigendian: bool = False, **columns: np.ndarray
) -> SimpleNamespace:
    """A PointCloud2 of XYZ in some layout, rows padded by some bytes."""
    order = ">" if is_bigendian else "<"
    dtype = np.dtype(dtype or {"names": ["x", "y", "z"], "formats": ["f4"] * 3}).newbyteorder(order)
    points = np.zeros(len(XYZ), dtype)
    for axis, values in (*zip("xyz", XYZ.T, strict=True), *columns.items()):
        if axis in (dtype.names or ()):
            points[axis] = values
    width = len(points) // height
    rows = points.reshape(height, width).view(np.uint8).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=255).tobytes()
    fields = [
        field(name, offset, CODES[kind.base.newbyteorder("=").str[1:]], int(np.prod(kind.shape, dtype=int)))
        for name, (kind, offset) in (dtype.fields or {}).items()
    ]
    step = dtype.itemsize
    return SimpleNamespace(
        header="header",
        height=height,
        width=width,
        fields=fields,
        is_bigendian=is_bigendian,
        point_step=step,
        row_step=width * step + padding,
        data=data,
        is_dense=False,
    )


VELODYNE = {
    "names": ["x", "y", "z", "intensity", "ring", "time"],
    "formats": ["f4", "f4", "f4", "f4", "u2", "f4"],
    "offsets": [0, 4, 8, 16, 20, 24],
    "itemsize": 32,
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fields between and after": {"dtype": VELODYNE},
    "odd offsets": {"dtype": {"names": ["i", "z", "y", "x"], "formats": ["u1", "f4", "f4", "f4"]}},
    "doubles": {"dtype": {"names": ["x", "y", "z"], "formats": ["f8", "f4", "f8"]}},
    "a field of several numbers": {
        "dtype": {"names": ["x", "y", "z", "n"], "formats": ["f4", "f4", "f4", ("f4", (3,))]}
    },
    "organised": {"height": 2},
    "organised, padded rows": {"height": 2, "padding": 5, "dtype": VELODYNE},
    "big-endian": {"is_bigendian": True, "dtype": VELODYNE},
    "big-endian, organised, padded": {"is_bigendian": True, "height": 4, "padding": 3},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_positions_are_those_of_the_points(layout: dict[str, Any]) -> None:
    found = positions(read_points(cloud(**layout)))
    assert found.T.tolist()[:3] == XYZ[:3].tolist()
    assert np.array_equal(found.T, XYZ, equal_nan=True)
    assert found.dtype == (np.float64 if "doubles" in str(layout) or "f8" in str(layout) else np.float32)


def test_points_at_the_origin_are_none() -> None:
    source = cloud()
    source.data = np.float32([[0, 0, 0], [0, 0, 1], [-0.0, 0, 0], [0, 2, 0]]).tobytes()
    found = positions(read_points(source))
    assert np.isnan(found).all(axis=0).tolist() == [True, False, True, False]


@pytest.mark.parametrize("keep", [None, np.array([True, False, True, False])], ids=["all", "some"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_painted_cloud_has_the_points_and_the_four_fields(layout: dict[str, Any], keep: np.ndarray | None) -> None:
    source = cloud(**layout)
    points = read_points(source)
    columns = tuple(np.array(values, np.uint8) for values in ([3, 1, 255, 0], [9, 8, 255, 7], [255, 0, 0, 255]))
    rgb = np.array([0x112233, 0xFF0000, 0, 0xFEDCBA], np.uint32)
    painted = SimpleNamespace()
    fill_painted(painted, source, points, (*columns, rgb), make_field=SimpleNamespace, keep=keep)  # type: ignore[arg-type]
    chosen = keep if keep is not None else np.ones(4, bool)
    assert (painted.height, painted.width) == ((source.height, source.width) if keep is None else (1, 2))
    assert (painted.header, painted.is_dense) == ("header", False)
    again = read_points(painted)
    for name in points.dtype.names or ():
        np.testing.assert_array_equal(again[name], points[name][chosen])
    for name, column in zip(("label", "uncertainty", "accepted"), columns, strict=True):
        assert again[name].tolist() == column[chosen].tolist()
    # As RViz and PCL read it: a float whose bits are the colour.
    assert again["rgb"].astype(np.float32).view(np.uint32).tolist() == rgb[chosen].tolist()
    assert {f.name: f.datatype for f in painted.fields if f.name in ("rgb", "label")} == {"rgb": 7, "label": 2}


def test_fields_of_the_same_names_are_left_out() -> None:
    source = cloud({"names": ["x", "y", "z", "rgb", "label"], "formats": ["f4", "f4", "f4", "f4", "u2"]})
    zeros = np.zeros(4, np.uint8)
    painted = SimpleNamespace()
    columns = (zeros + 2, zeros, zeros, np.zeros(4, np.uint32))
    fill_painted(painted, source, read_points(source), columns, make_field=SimpleNamespace)
    assert [f.name for f in painted.fields] == ["x", "y", "z", "rgb", "label", "uncertainty", "accepted"]
    assert read_points(painted)["label"].tolist() == [2] * 4


def test_a_cloud_without_points_is_one() -> None:
    source = cloud()
    source.width = source.row_step = 0
    source.data = b""
    points = read_points(source)
    assert positions(points).shape == (3, 0)
    assert point_times_ns(points, STAMP_NS) is None
    painted = SimpleNamespace()
    none = np.empty(0, np.uint8)
    fill_painted(painted, source, points, (none, none, none, none.astype(np.uint32)), make_field=SimpleNamespace)
    assert (painted.height, painted.width, len(painted.data), len(painted.fields)) == (1, 0, 0, 7)


def changed(**attributes: Any) -> SimpleNamespace:
    source = cloud()
    source.__dict__.update(attributes)
    return source


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (changed(fields=[]), "has no field x; there are: none"),
        (changed(fields=[field("x", 0, 7), field("z", 8, 7)]), "has no field y; there are: x, z"),
        (
            changed(fields=[field("x", 0, 7), field("y", 4, 5), field("z", 8, 7)]),
            "field y is int32; accepted: FLOAT32 or",
        ),
        (changed(fields=[field("x", 0, 7, 2), field("y", 4, 7), field("z", 8, 7)]), "field x is .*count 1"),
        (changed(fields=[field("x", 0, 9)]), "field 'x' has the datatype 9; there are 1 to 8"),
        (changed(fields=[field("x", 10, 7)]), "field 'x' ends at byte 14, after the point's end at 12"),
        (changed(fields=[field("x", 0, 7), field("x", 4, 7)]), "its fields are 'x', 'x'; accepted: names, each once"),
        (changed(data=b"1234"), "truncated: 4 bytes, but 1 x 4 points of 12 bytes take 48"),
        (changed(height=2, width=2, row_step=23), "row_step 23 is too small for 2 points of 12 bytes"),
        (changed(height=2, width=2, row_step=100), "truncated"),
        (changed(point_step=2**31), "its point_step is 2147483648 bytes; accepted: up to 2147483647"),
        (changed(point_step=2**31 - 1), "truncated"),
        (changed(point_step=0), "ends at byte 4, after the point's end at 0"),
        (changed(point_step=0, fields=[]), "has no field x"),
        (changed(height=1, width=10_000_000), "has 10000000 points; at most 4000000 are taken"),
    ],
)
def test_what_is_no_cloud_is_said(source: SimpleNamespace, message: str) -> None:
    with pytest.raises(PointCloudError, match=message):
        positions(read_points(source))


def timed(name: str, kind: str, values: Any) -> np.ndarray:
    return read_points(cloud({"names": ["x", "y", "z", name], "formats": ["f4", "f4", "f4", kind]}, **{name: values}))


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("t", "u4", [0, 10_000_000, 50_000_000, 100_000_000]),
        ("time", "f4", [0, 0.01, 0.05, 0.1]),
        ("timestamp", "f8", np.array([0, 0.01, 0.05, 0.1]) + STAMP_NS / 1e9),
        ("timestamp", "f8", np.array([0, 1e7, 5e7, 1e8]) + float(STAMP_NS)),
        ("timestamp", "f8", [0, 0.01, 0.05, 0.1]),
        ("offset_time", "i4", [0, 10_000_000, 50_000_000, 100_000_000]),
    ],
)
def test_times_of_points_under_the_names_and_units_of_drivers(name: str, kind: str, values: Any) -> None:
    found = point_times_ns(timed(name, kind, values), STAMP_NS)
    assert found is not None
    assert (found - STAMP_NS).tolist() == pytest.approx([0, 1e7, 5e7, 1e8], abs=600)
    assert point_times_ns(timed(name, kind, values), STAMP_NS, "") is None


def test_a_point_without_a_time_has_the_stamps() -> None:
    found = point_times_ns(timed("time", "f4", [0.0, np.nan, 0.01, 0.02]), STAMP_NS)
    assert found is not None
    assert found[1] == STAMP_NS


ABSOLUTE_S = np.array([-0.1, -0.02, -0.05, 0]) + STAMP_NS / 1e9
ABSOLUTE_NS = np.array([-1e8, -2e7, -5e7, 0]) + STAMP_NS


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("f8", [*ABSOLUTE_S[:3], 0.0]),
        ("f8", [*ABSOLUTE_NS[:3], 0.0]),
        ("f8", [*ABSOLUTE_S[:3], np.inf]),
        ("f4", [-0.1, -0.02, -0.05, np.inf]),
        ("i4", [-100_000_000, -20_000_000, -50_000_000, 2_000_000_000]),
    ],
)
def test_points_without_an_echo_may_say_anything_of_their_time(kind: str, values: Any) -> None:
    points = timed("t", kind, values)
    found = point_times_ns(points, STAMP_NS, has_echo=np.isfinite(positions(points)).all(axis=0))
    assert found is not None
    assert (found - STAMP_NS).tolist() == pytest.approx([-1e8, -2e7, -5e7, -2e7], abs=600)


def test_a_time_that_is_not_finite_tells_nothing_of_the_others() -> None:
    found = point_times_ns(timed("t", "f4", [0.0, 0.01, 0.02, np.inf]), STAMP_NS)
    assert found is not None
    assert (found - STAMP_NS).tolist() == pytest.approx([0, 1e7, 2e7, 0], abs=600)
    assert point_times_ns(timed("t", "f4", [0.0] * 4), STAMP_NS, has_echo=np.zeros(4, bool)) is None


@pytest.mark.parametrize(
    ("points", "name", "message"),
    [
        (timed("time", "f4", [0, 5, 9, 2]), "auto", "field time says 0 to 9 s after the stamp, which is no sweep"),
        (timed("t", "u4", [0, 1, 2, 2_000_000_000]), "auto", "says 0 to 2 s after the stamp"),
        (timed("t", "f4", [STAMP_NS / 1e9] * 4), "auto", "s after the stamp, which is no sweep"),
        (timed("t", "f4", [float(STAMP_NS)] * 4), "auto", "s after the stamp, which is no sweep"),
        (timed("when", "f4", [0] * 4), "t", "has no field t for the points' times; there are: x, y, z, when"),
    ],
)
def test_times_that_are_of_no_sweep_are_refused(points: np.ndarray, name: str, message: str) -> None:
    with pytest.raises(PointCloudError, match=message):
        point_times_ns(points, STAMP_NS, name)


def test_the_limit_is_above_every_sweep() -> None:
    assert point_cloud.MAX_POINTS > 1_000_000
