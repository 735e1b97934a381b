"""How the judged camera sees the road: its calibration from the bag or a file, for regions by distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lwseg_ros.errors import BagError, CalibrationError
from lwseg_ros.evaluation.distance_regions import DistanceRegions, Mounting
from lwseg_ros.imaging.calibration import Calibration
from lwseg_ros.replay.bag import Bag, Topic

REMEDY = "give the calibration with --camera-info FILE, or leave out --camera-height for regions by rows"


@dataclass(frozen=True, eq=False)
class CameraView:
    """What is needed for regions by distance.

    Attributes:
        mounting: how the camera stands above the road.
        camera_info: the calibration with the fields of sensor_msgs/CameraInfo; None takes the bag's own.
        source: the file it is from, or None.
    """

    mounting: Mounting
    camera_info: Any = None
    source: str | None = None

    def regions(self, bag: Bag, image_topic: Topic, size_hw: tuple[int, int]) -> DistanceRegions:
        """Work out the regions of images of some size; raises BagError where there is no calibration that fits them."""
        info, source = self.camera_info, self.source
        if info is None:
            info, source = _recorded(bag, image_topic)
        try:
            calibration = Calibration.of_camera_info(info, size_hw, is_rectified=is_rectified(image_topic))
            regions = DistanceRegions(calibration, self.mounting)
            regions.parts(size_hw)
        except CalibrationError as error:
            raise BagError(f"the camera_info of {source} does not fit {image_topic.name}: {error}; {REMEDY}") from error
        return regions


def is_rectified(image_topic: Topic) -> bool:
    """Tell by a topic's name, such as `/front/image_rect_color`, whether image_proc has undone the distortion."""
    return "rect" in image_topic.base.rpartition("/")[2]


def _recorded(bag: Bag, image_topic: Topic) -> tuple[Any, str]:
    """Read the calibration in a bag, and say where it is from; raises BagError where there is none, or more than one."""
    topic = bag.camera_info_topic(image_topic)
    if topic is None:
        raise BagError(
            f"{bag.path} has no camera_info of {image_topic.name}, which would be on {image_topic.namespace}/camera_info; {REMEDY}"
        )
    infos = [bag.deserialize(message) for message in bag.messages(topic)]
    if any(_content(info) != _content(infos[0]) for info in infos):
        raise BagError(f"the camera_info on {topic.name} in {bag.path} changes on the way; {REMEDY}")
    return infos[0], f"{topic.name} in {bag.path}"


def _content(info: Any) -> tuple[Any, ...]:
    """Collect what a calibration is, as text, so that NaN is as NaN."""
    arrays = (str(list(values)) for values in (info.k, info.d, info.p))
    return (info.height, info.width, info.distortion_model, info.binning_x, info.binning_y, str(info.roi), *arrays)
