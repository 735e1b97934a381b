"""Which points a camera sees, and which are behind something: a z-buffer of the points themselves."""

from __future__ import annotations

import cv2
import numpy as np

# A gap between a lidar's rays takes about so many cells of the z-buffer.
_CELLS_PER_RADIUS = 4
# A level surface that comes nearer faster than this is seen so flat that nothing can be told of it.
LEAST_LEVEL = 0.75


def visible(
    column: np.ndarray,
    row: np.ndarray,
    points: np.ndarray,
    size_hw: tuple[int, int],
    *,
    focal_px: float,
    angle_rad: float,
    tolerance: float,
) -> np.ndarray:
    """Tell which points nothing hides, bool [N].

    A point is hidden where nearer points surround it: in each of the four quadrants around its pixel, within the angle, there
    is one that is nearer by more than a tolerance; one in its own pixel is in all four. So the road, whose nearer points are
    all below, and what stands beside something nearer stay visible, while nothing shows through the gaps between a lidar's
    rays. (Pintus, Gobbetti and Agus, Real-time Rendering of Massive Unstructured Raw Point Clouds using Screen-space Operators,
    VAST 2011, with four sectors and a step in range in place of an angle.)

    Nearer by more than `tolerance` of the point's range; below the point, also by more than a level surface through it comes
    nearer within the angle, so that the road under a car is not taken to be hidden by the car and the road before it.

    Args:
        column, row: of the points in the image, float [N], all inside it.
        points: where they are in the camera's frame, [3, N].
        angle_rad: as far as two of the lidar's rays are apart, at least.
        tolerance: share of its range by which a surface may vary within the angle.
    """
    radius_px = focal_px * angle_rad
    cell_px = max(1, round(radius_px / _CELLS_PER_RADIUS))
    reach = max(1, int(np.ceil(radius_px / cell_px)))
    height, width = (side // cell_px + 2 * reach + 2 for side in size_hw)
    x = (np.rint(column).astype(np.int32) // cell_px) + reach
    y = (np.rint(row).astype(np.int32) // cell_px) + reach
    range_m = np.sqrt(np.einsum("ij,ij->j", points, points), dtype=np.float32)
    nearest = np.full((height, width), np.inf, np.float32)
    np.minimum.at(nearest.reshape(-1), y * width + x, range_m)

    # The least range in the quadrant right of and below each cell, the cell and the axes with it.
    quadrant = cv2.erode(nearest, np.ones((reach + 1, reach + 1), np.uint8), anchor=(0, 0))
    above = np.maximum(quadrant[y - reach, x - reach], quadrant[y - reach, x])
    below = np.maximum(quadrant[y, x - reach], quadrant[y, x])
    # A level surface h below the camera is seen at range r / (1 + a r / h), an angle a further down.
    with np.errstate(divide="ignore"):
        down = np.maximum(points[1], 0)
        level = np.maximum(1 / (1 + (reach + 1) * cell_px / focal_px * range_m / down), LEAST_LEVEL)
    least_above = range_m * (1 - tolerance)
    least_below = np.where(down > 0, least_above * level, least_above)
    return np.asarray((above >= least_above) | (below >= least_below))
