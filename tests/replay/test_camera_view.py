"""Regions by distance: the calibration is the bag's own or a file's, and what does not fit is refused before anything plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from support.bag_files import camera_info_message, image_message, painted_messages, write_messages
from support.tiny_model import tiny_manifest

from lwseg_ros.cli import main
from lwseg_ros.errors import BagError
from lwseg_ros.evaluation.distance_regions import Mounting
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.camera_view import CameraView
from lwseg_ros.replay.ground_truth import GroundTruth
from lwseg_ros.replay.paired_truth import PairedTruth

K = [60.0, 0, 32, 0, 60.0, 20, 0, 0, 1]
P = [50.0, 0, 32, 0, 0, 50.0, 24, 0, 0, 0, 1, 0]
ROWS = [[0, 21], [21, 23], [23, 29], [29, 48]]  # 20 + 60 * 1.4 / 30 = 22.8, 20 + 60 * 1.4 / 10 = 28.4
FILE = (
    f"{{image_height: 48, image_width: 64, camera_matrix: {{data: {K}}}, projection_matrix: {{data: {P}}}, "
    "distortion_model: plumb_bob, distortion_coefficients: {data: [0, 0, 0, 0, 0]}}"
)


def calibrated(messages: list[tuple[str, int, Any]], k: list[float] = K, **fields: Any) -> list[tuple[str, int, Any]]:
    """Give the camera_info of painted messages a calibration."""
    for topic, _, message in messages:
        if topic.endswith("camera_info"):
            message.k, message.p = np.array(k), np.array(P)
            for name, value in fields.items():
                setattr(message, name, value)
    return messages


def paired(path: Path, view: CameraView) -> PairedTruth:
    with Bag(path) as bag:
        return PairedTruth(bag, bag.image_topic(), GroundTruth(view=view), tiny_manifest())


def test_distances_stand_in_report_and_page(tmp_path: Path, tiny_model: ModelFile) -> None:
    bag = write_messages(tmp_path / "bag", calibrated(painted_messages(2)))
    command = ["replay", str(bag), "--offline", "--model", str(tiny_model.path), "--backend", "onnxruntime"]
    assert main([*command, "--camera-height", "1.4", "-o", str(tmp_path / "out")]) == 0
    figures = json.loads((tmp_path / "out/report.json").read_text())
    assert [each["name"] for each in figures["regions"]] == ["above the horizon", "far", "middle", "near"]
    assert [each["rows"] for each in figures["regions"]] == ROWS
    assert [each["distance_m"] for each in figures["regions"]] == [None, [30, None], [10, 30], [0, 10]]
    assert sum(each["pixels"] for each in figures["regions"]) == figures["truth"]["pixels"]
    assert (figures["truth"]["camera_height_m"], figures["truth"]["camera_pitch_deg"]) == (1.4, 0.0)
    jsonschema.validate(figures, json.loads((Path(__file__).parents[2] / "docs/report.schema.json").read_text()))
    page = (tmp_path / "out/report.html").read_text()
    assert "<h3>By distance</h3>" in page
    assert "Ahead of a camera 1.4 m above a flat road, which looks down by 0°" in page
    assert '<td>far</td><td class="n">30 and more</td><td class="n">21 to 22</td>' in page
    # a file goes before the bag's own, and the bounds are as asked for
    (tmp_path / "camera.yaml").write_text(FILE.replace("60.0", "30.0"))
    more = ["--camera-info", str(tmp_path / "camera.yaml"), "--distances", "3,15", "--camera-pitch", "-2"]
    assert main([*command, "--camera-height", "1.4", *more, "-o", str(tmp_path / "other")]) == 0
    figures = json.loads((tmp_path / "other/report.json").read_text())
    tilt = np.tan(np.radians(-2.0))
    ends = [20 + 30 * (slope - tilt) / (1 + slope * tilt) for slope in (0.0, 1.4 / 15, 1.4 / 3)]
    assert [each["rows"][1] for each in figures["regions"]] == [*(int(end) + 1 for end in ends), 48]
    assert figures["truth"]["camera_info"] == str(tmp_path / "camera.yaml")


def test_a_rectified_topic_is_of_p_which_is_said(tmp_path: Path) -> None:
    messages = calibrated(painted_messages(1, compressed=False))
    messages = [(topic.replace("/cam/image", "/cam/image_rect_color"), *rest) for topic, *rest in messages]
    truth = paired(write_messages(tmp_path / "bag", messages), CameraView(Mounting(1.5)))
    assert truth.regions is not None
    assert truth.regions.calibration.focal_px == (50.0, 50.0)
    assert (
        "/cam/image_rect_color is taken for rectified, by its name: distances are by the camera_info's P"
        in truth.warnings
    )


@pytest.mark.parametrize(
    ("k", "fields", "message"),
    [
        ([0.0] * 9, {}, "its K is all zero: the camera was not calibrated"),
        ([float("nan")] * 9, {}, "focal lengths nan and nan .* are of no camera"),
        (
            K,
            {"height": 96, "width": 128},
            r"it is of images of 96 x 128 pixels \(height x width\), but they are 48 x 64",
        ),
        (
            K,
            {"distortion_model": "equidistant", "d": np.array([0.1, 0, 0, 0])},
            "distances are not told of an equidistant lens, only of plumb_bob and rational_polynomial",
        ),
        (K, {"distortion_model": "plumb_bob", "d": np.array([-9.0, 0, 0, 0, 0])}, "its distortion cannot be undone"),
    ],
)
def test_a_camera_info_that_does_not_fit_is_refused(
    tmp_path: Path, k: list[float], fields: dict[str, Any], message: str
) -> None:
    path = write_messages(tmp_path / "bag", calibrated(painted_messages(1), k, **fields))
    remedy = "; give the calibration with --camera-info FILE, or leave out --camera-height"
    with pytest.raises(
        BagError, match=f"the camera_info of /cam/camera_info in .* does not fit .*: {message}.*{remedy}"
    ) as told:
        paired(path, CameraView(Mounting(1.5)))
    assert "\n" not in str(told.value)


def test_none_and_several_calibrations_and_images_of_several_sizes_are_refused(tmp_path: Path) -> None:
    view = CameraView(Mounting(1.5))
    messages = painted_messages(2)
    without = [item for item in messages if item[0] != "/cam/camera_info"]
    with pytest.raises(
        BagError, match=r"has no camera_info of /cam/image/compressed, which would be on /cam/camera_info; give"
    ):
        paired(write_messages(tmp_path / "without", without), view)
    other = camera_info_message((48, 64), 5)
    with pytest.raises(BagError, match=r"the camera_info on /cam/camera_info in .* changes on the way; give"):
        paired(write_messages(tmp_path / "two", [*calibrated(messages), ("/cam/camera_info", 2 * 10**9, other)]), view)
    larger = np.zeros((96, 128), np.uint8)
    further = [
        ("/cam/image", 9 * 10**9, image_message(np.zeros((96, 128, 3), np.uint8), 9 * 10**9)),
        ("/cam/label", 9 * 10**9, image_message(larger, 9 * 10**9)),
    ]
    path = write_messages(tmp_path / "sizes", [*calibrated(painted_messages(2, compressed=False)), *further])
    with pytest.raises(
        BagError, match=r"frame 2: the image on /cam/image in .* is 96 x 128 pixels .* those before \(48, 64\)"
    ):
        paired(path, view)


def test_without_ground_truth_the_height_is_said_to_be_of_no_use(tmp_path: Path) -> None:
    path = write_messages(tmp_path / "bag", painted_messages(1, labels=False))
    assert "camera height are of no use" in paired(path, CameraView(Mounting(1.5))).warnings[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--camera-pitch", "2", "--distances", "5,9"], "--camera-pitch and --distances need --camera-height M"),
        (["--camera-height", "0"], "'0' is not a number above 0"),
        (["--camera-height", "1", "--camera-pitch", "90"], "'90' is no angle between -90 and 90 degrees"),
        (
            ["--camera-height", "1", "--distances", "30,10"],
            "'30,10' is not two ascending distances in metres, such as 10,30",
        ),
    ],
)
def test_wrong_usage(tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path), *options, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
