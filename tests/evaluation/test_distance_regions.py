"""Regions by distance, against a road that OpenCV projects into the image."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from support.tiny_model import tiny_manifest

from lwseg_ros.evaluation.counts import Prediction
from lwseg_ros.evaluation.distance_regions import DistanceRegions, Mounting
from lwseg_ros.evaluation.evaluator import Evaluator
from lwseg_ros.imaging.calibration import Calibration

SIZE_HW = (240, 400)
MATRIX = np.array([[300.0, 0, 195.5], [0, 310.0, 118.0], [0, 0, 1]])
BARREL = (-0.3, 0.09, 0.001, -0.0005, 0.01, 0.0, 0.0, 0.0)
HEIGHT_M = 1.4


def regions(distortion: tuple[float, ...] = (), pitch_deg: float = 0.0) -> DistanceRegions:
    calibration = Calibration(SIZE_HW, (300.0, 310.0), (195.5, 118.0), distortion)
    return DistanceRegions(calibration, Mounting(HEIGHT_M, pitch_deg, (8.0, 25.0)))


def rendered(distortion: tuple[float, ...], pitch_deg: float) -> np.ndarray:
    """Paint the strips of a road into an image, uint8 [H, W]: 0 above the road, 1 beyond 25 m, 2 beyond 8 m, 3 nearer.

    In the road's frame x is right, y down and z ahead; the camera is at its origin, the road at y = HEIGHT_M.
    """
    image = np.zeros(SIZE_HW, np.uint8)
    turn = np.array([np.radians(pitch_deg), 0.0, 0.0])  # about x: y turns to z, so that the axis looks down
    lateral = np.tan(np.radians(np.linspace(-42, 42, 801)))
    for number, near_m, far_m in ((1, 25.0, 1e7), (2, 8.0, 25.0), (3, 3.2, 8.0)):
        edges = [
            np.stack([lateral * z, np.full_like(lateral, HEIGHT_M), np.full_like(lateral, z)], 1)
            for z in (near_m, far_m)
        ]
        outline = np.concatenate([edges[0], edges[1][::-1]])
        pixels, _ = cv2.projectPoints(outline, turn, np.zeros(3), MATRIX, np.array(distortion or (0.0,) * 5))
        cv2.fillPoly(image, [np.round(pixels * 16).astype(np.int32)], number, shift=4)
    return image


@pytest.mark.parametrize("pitch_deg", [0.0, 6.0, -4.0])
@pytest.mark.parametrize("distortion", [(), BARREL])
def test_the_regions_are_those_of_a_projected_road(distortion: tuple[float, ...], pitch_deg: float) -> None:
    cut = np.zeros(SIZE_HW, np.uint8)
    for number, part in enumerate(regions(distortion, pitch_deg).parts(SIZE_HW)):
        assert (cut[part] == 0).all()
        cut[part] = number
    painted = rendered(distortion, pitch_deg)
    is_near = painted == 0
    is_near[: np.argmax((painted == 3).any(axis=1))] = False  # nearer than what was painted: below it
    differs = (painted != cut) & ~is_near
    assert {*np.unique(painted)} == {0, 1, 2, 3}
    # painted polygons cover the pixels that their outline touches
    kernel = np.ones((3, 3), np.uint8)
    edges = cv2.dilate(painted, kernel) != cv2.erode(painted, kernel)
    assert not (differs & ~edges).any()
    assert differs.mean() <= 3 / SIZE_HW[0]  # of three edges, a row of pixels each


def test_rows_and_distances_by_hand() -> None:
    cut = regions()
    # at 25 m: 118 + 310 * 1.4 / 25 = 135.36; at 8 m: 118 + 310 * 1.4 / 8 = 172.25
    assert list(cut.parts(SIZE_HW)) == [slice(0, 119), slice(119, 136), slice(136, 173), slice(173, 240)]
    assert cut.distance_m()[180] == pytest.approx(310 * 1.4 / 62)
    assert np.isinf(cut.distance_m()[118])  # the horizon itself
    # with the axis 10 degrees down, the axis meets the road at 1.4 / tan 10
    down = DistanceRegions(Calibration((241, 401), (300.0, 300.0), (200.0, 120.0)), Mounting(1.4, 10.0))
    assert down.distance_m()[120] == pytest.approx(1.4 / np.tan(np.radians(10)))
    # a ray that comes down behind the camera is of what is near
    steep = DistanceRegions(Calibration((240, 400), (100.0, 100.0), (200.0, 120.0)), Mounting(1.4, 60.0))
    assert steep.distance_m()[-1] < 0
    assert steep.parts((240, 400))[3].stop == 240  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"of images of \(240, 400\), this one is \(120, 200\)"):
        cut.parts((120, 200))


@pytest.mark.parametrize("distortion", [(), BARREL])
def test_figures_are_of_the_pixels_of_each_region(distortion: tuple[float, ...]) -> None:
    rng = np.random.default_rng(5)
    truth = rng.choice([0, 1, 2, 255], SIZE_HW).astype(np.uint8)
    label = rng.integers(0, 3, SIZE_HW).astype(np.uint8)
    evaluator = Evaluator.of_model(tiny_manifest(), in_detail=True, regions=regions(distortion))
    evaluator.add(Prediction(label, np.zeros(SIZE_HW, np.uint8)), truth)
    plain = Evaluator.of_model(tiny_manifest())
    plain.add(Prediction(label), truth)
    assert np.array_equal(evaluator.confusion.counts, plain.confusion.counts)
    painted = rendered(distortion, 0.0)
    kernel = np.ones((5, 5), np.uint8)
    found = evaluator.metrics()["regions"]
    assert [each["name"] for each in found] == ["above the horizon", "far", "middle", "near"]
    assert [each["distance_m"] for each in found] == [None, [25.0, None], [8.0, 25.0], [0.0, 8.0]]
    assert [each["rows"] for each in found] == (
        [None] * 4 if distortion else [[0, 119], [119, 136], [136, 173], [173, 240]]
    )
    for number, each in ((1, found[1]), (2, found[2])):
        counted = (truth != 255) & (painted == number)
        edge = (cv2.dilate(painted, kernel) != cv2.erode(painted, kernel)) & (truth != 255)
        assert abs(each["pixels"] - counted.sum()) <= edge.sum()
        assert each["pixel_accuracy"] == pytest.approx((truth == label)[counted].mean(), abs=0.01)


def test_regions_travel_with_their_counts_and_are_merged_with_their_like() -> None:
    one, other = (Evaluator.of_model(tiny_manifest(), in_detail=True, regions=regions(BARREL)) for _ in range(2))
    for evaluator in (one, other):
        evaluator.add(Prediction(np.zeros(SIZE_HW, np.uint8)), np.zeros(SIZE_HW, np.uint8))
    data = pickle.dumps(other)
    assert len(data) < 2 * SIZE_HW[0] * SIZE_HW[1]  # without a mask of each of the four regions
    one.merge(pickle.loads(data))
    assert sum(each["pixels"] for each in one.metrics()["regions"]) == 2 * SIZE_HW[0] * SIZE_HW[1]
    with pytest.raises(
        ValueError, match=r"cannot merge the regions \('far', 'middle', 'near'\) into \('above the horizon'"
    ):
        one.merge(Evaluator.of_model(tiny_manifest(), in_detail=True))
