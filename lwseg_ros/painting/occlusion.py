"""Which points a camera sees, and which are behind something: a z-buffer of the points themselves."""

from __future__ import annotations

import cv2
import numpy as np

# A gap between a lidar's rays takes about so many cells of the z-buffer.
_CELLS_PER_RADIUS = 4
# A level surface that comes nearer faster than this is seen so flat that nothing can be told of it.
LEAST_LEVEL = 0.75
# Of the z-buffer's side, whatever lens and angle are.
_MAX_CELLS = 8192


def visible(points: np.ndarray, *, focal_px: float, angle_rad: float, tolerance: float) -> np.ndarray:
    """Tell which points nothing hides, bool [N].

    A point is hidden where nearer points surround it: in each of the four quadrants around where it is seen, within the angle,
    there is one that is nearer by more than a tolerance; one in its own pixel is in all four. So the road, whose nearer points
    are all below, and what stands beside something nearer stay visible, while nothing shows through the gaps between a lidar's
    rays. (Pintus, Gobbetti and Agus, Real-time Rendering of Massive Unstructured Raw Point Clouds using Screen-space Operators,
    VAST 2011, with four sectors and a step in range in place of an angle.)

    Nearer by more than `tolerance` of the point's range; below the point, also by more than a level surface through it comes
    nearer within the angle, so that the road under a car is not taken to be hidden by the car and the road before it.

    Args:
        points: where they are in the camera's frame, [3, N]; those around the image count as well, since they hide what it shows.
        focal_px: pixels a radian at the image's centre; nothing is told apart more finely.
        angle_rad: as far as two of the lidar's rays are apart, at least.
        tolerance: share of its range by which a surface may vary within the angle.
    """
    if not points.shape[1]:
        return np.zeros(0, bool)
    radius_px = focal_px * angle_rad
    range_m = np.sqrt(np.einsum("ij,ij->j", points, points), dtype=np.float32)
    column, row = focal_px * _on_plane(points, range_m)
    left, top = column.min(), row.min()
    extent_px = max(column.max() - left, row.max() - top)
    cell_px = max(1, round(radius_px / _CELLS_PER_RADIUS), int(np.ceil(extent_px / _MAX_CELLS)))
    reach = max(1, int(np.ceil(radius_px / cell_px)))
    x, y = (((side - least) / cell_px).astype(np.int32) + reach for side, least in ((column, left), (row, top)))
    height, width = (int(cells.max()) + reach + 1 for cells in (y, x))
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


def _on_plane(points: np.ndarray, range_m: np.ndarray) -> np.ndarray:
    """Map directions to a plane, [2, N]: the angle from the axis near it, and of equal area everywhere (Lambert, 1772).

    In the image of a wide pinhole rays lie the farther apart the farther from the axis they are: half as far again at 45 degrees,
    thrice at 60. Here it is at most 1.15 times at 60 degrees, and straight back is 2 away.
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        scale = np.sqrt(2 / (range_m * (range_m + points[2])))
        return np.asarray(np.nan_to_num(points[:2] * scale).clip(-2, 2))
