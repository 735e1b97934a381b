"""The benchmark's baseline and the painter do the same work: a loop over the points, one by one, gives the same labels."""

from __future__ import annotations

import numpy as np

from benchmarks import painting
from lwseg_ros.painting.painter import Occlusion
from lwseg_ros.painting.point_cloud import read_points


def test_a_loop_over_the_points_gives_the_same_labels() -> None:
    message, seen = painting.sweep_message(), painting.view()
    painted = painting.paint_message(message, seen, Occlusion(angle_deg=0.0))
    looped = np.array(painting.loop(read_points(message)[::137], seen))
    assert (looped != painting.NO_CLASS).sum() > 200
    assert (painted.label[::137] == looped).mean() > 0.99  # within the rounding of float32 at a pixel's border
