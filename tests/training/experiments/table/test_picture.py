"""The picture of accuracy against latency: readable labels, hollow circles for short runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from lwseg_training.experiments.table.picture import LARGEST_AREA_PT2, Point, draw, place_labels, write_picture
from matplotlib import pyplot
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

CROWDED = [
    Point("dwrseg_b", 34.8, 0.737, 2_556_000),
    Point("dwrseg_b_camvid_paper", 34.6, 0.736, 2_556_000),
    Point("pilot", 35.1, 0.7365, 2_556_000),
    Point("synergy", 36.0, 0.738, 2_556_000),
    Point("dwrseg_l", 45.0, 0.72, 3_550_000, hollow=True),
    Point("pmsdsen", 46.0, 0.722, 922_000, hollow=True),
    Point("lemore", 9.0, 0.66, 1_600_000, hollow=True),
    Point("deeplabv3plus_r50", 420.0, 0.745, 40_350_000),
]


def test_labels_of_eight_crowded_points_overlap_neither_each_other_nor_leave_the_picture() -> None:
    figure = draw(CROWDED, "camvid, val")
    figure.canvas.draw()
    axes = figure.axes[0]
    texts = [text for text in axes.texts if isinstance(text, Annotation)]
    boxes = {text.get_text(): text.get_window_extent() for text in texts}
    frame = axes.get_window_extent()
    pyplot.close(figure)
    assert set(boxes) == {point.label for point in CROWDED}
    for (name, box), (other_name, other) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(other), (name, other_name)
    for box in boxes.values():
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1


@pytest.mark.parametrize("seed", range(20))
def test_labels_touch_no_circle_and_no_other_label(seed: int) -> None:
    random = np.random.default_rng(seed)
    centers = random.uniform((300, 200), (600, 400), (8, 2))
    radii = [float(radius) for radius in random.uniform(5, 30, 8)]
    sizes = [np.array([width, 18.0]) for width in random.uniform(40, 200, 8)]
    boxes = [box.extents for box in place_labels(centers, radii, sizes, Bbox([(0, 0), (1000, 700)]))]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for left, bottom, right, top in boxes:
        assert 0 <= left < right <= 1000
        assert 0 <= bottom < top <= 700
        for (x, y), radius in zip(centers, radii, strict=True):
            assert np.hypot(x - np.clip(x, left, right), y - np.clip(y, bottom, top)) >= radius


def test_a_lone_label_stands_to_the_right_and_at_the_edge_to_the_left() -> None:
    for x, left in ((50, 61), (190, 139)):
        (box,) = place_labels([np.array([x, 50])], [5], [np.array([40, 10])], Bbox([(0, 0), (200, 100)]))
        assert tuple(box.p0) == pytest.approx((left, 45))


def test_areas_are_proportional_to_the_parameters_and_short_runs_hollow() -> None:
    figure = draw(CROWDED, "camvid, val")
    circles = {float(c.get_offsets()[0][0]): c for c in figure.axes[0].collections}
    pyplot.close(figure)
    assert circles[420.0].get_sizes()[0] == pytest.approx(LARGEST_AREA_PT2)
    for point in CROWDED:
        circle = circles[point.latency_ms]
        assert circle.get_sizes()[0] == pytest.approx(LARGEST_AREA_PT2 * point.parameters / 40_350_000)
        assert (len(circle.get_facecolors()) == 0) == point.hollow


def test_one_point_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    write_picture(CROWDED[:1], path, "camvid, val")
    one = cv2.imread(str(path))
    assert one.shape == (690, 1125, 3)
    write_picture(CROWDED, path, "camvid, val")
    assert (cv2.imread(str(path)) != one).any()
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]
