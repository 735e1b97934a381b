"""The ground truth of an open bag: paired with the images, checked before anything is played, and counted as it is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lwseg_ros.classes import ClassInfo
from lwseg_ros.datasets.labels import IGNORE_ID, ColorCode, IdCode
from lwseg_ros.errors import BagError, DatasetError, ImageError
from lwseg_ros.evaluation.distance_regions import DistanceRegions
from lwseg_ros.evaluation.metrics import ConfusionMatrix
from lwseg_ros.imaging.resizing import resize_label
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.bag import Bag, Topic
from lwseg_ros.replay.camera_view import CameraView, is_rectified
from lwseg_ros.replay.class_ids import permutation_hint
from lwseg_ros.replay.ground_truth import GroundTruth, choose_label_topic
from lwseg_ros.replay.pairing import NS_PER_MS, Frame, describe, pair
from lwseg_ros.replay.truth_counts import TruthCounts

# By so much height and width may be scaled otherwise: rounding to whole pixels.
MAX_DISTORTION = 0.01
# With fewer of the images judged it is said that the figures are of a part.
MOST = 0.5


class PairedTruth:
    """The labels of a bag's images in the model's class ids.

    Attributes:
        topic: of the labels; None where there are none.
        frames: the images in the recorded order.
        ignore_id: the value of pixels that are not judged, in every label given out.
        regions: by distance, where that is asked for, else None.
        warnings: what a reader of the figures has to know, as sentences, known before anything is played.
    """

    def __init__(self, bag: Bag, image_topic: Topic, wanted: GroundTruth, manifest: Manifest) -> None:
        """Pair and check: every label is decoded once, and compared with its image's size.

        Raises:
            BagError: the bag is damaged, no label belongs to any image, or a label cannot be read as ground truth; names frame
                and topic.
            DatasetError: the label map does not fit the model, or the mask does not fit the images.
        """
        self.regions: DistanceRegions | None = None
        self.topic, self.warnings = choose_label_topic(bag, image_topic, wanted.topic)
        self.ignore_id = IGNORE_ID if manifest.ignore_id is None else manifest.ignore_id
        self._bag = bag
        self._image_topic = image_topic
        self._classes: Sequence[ClassInfo] = sorted(manifest.classes, key=lambda info: info.id)
        self._wanted = wanted
        self._mask = wanted.mask.pixels if wanted.mask else None
        self._judged = self._resized = self._ignored = self._masked = 0
        self._pairing = pair(bag, image_topic, self.topic, round(wanted.tolerance_ms * NS_PER_MS))
        num_backward = self._pairing.num_backward
        if num_backward:
            self.warnings.append(
                f"images on {image_topic.name} are stamped earlier than the one recorded before, {num_backward} of them: temporal "
                "consistency is measured between neighbours in time alone"
            )
        if self.topic is None:
            options = (wanted.label_map, wanted.ignore_id, wanted.mask, wanted.tolerance_ms or None, wanted.view)
            if any(option is not None for option in options):
                self.warnings.append(
                    f"{bag.path} has no ground truth of {image_topic.name}: label map, ignored id, tolerance, mask and camera "
                    "height are of no use"
                )
            return
        self._code = self._resolve_code(manifest)
        self.warnings += describe(self._pairing, image_topic.name, self.topic.name, wanted.tolerance_ms)
        if not self._pairing.num_matched:
            found = "has a label that is surely its own" if self._pairing.num_ambiguous else "has the stamp of a label"
            raise BagError(
                f"no image on {image_topic.name} in {bag.path} {found}; a label has to carry the stamp of its image, and no other "
                f"image the same. {'. '.join(self.warnings)}"
            )
        self._check_all()

    @property
    def frames(self) -> Sequence[Frame]:
        return self._pairing.frames

    def judge(self, frame: Frame, size_hw: tuple[int, int]) -> np.ndarray | None:
        """Read the label of a frame that has a prediction, uint8 [H, W] in its image's size, and count it as judged.

        None where there is none, or where no pixel of it counts.
        """
        stored = self._read(frame)
        if stored is None:
            return None
        label = resize_label(stored, size_hw)
        num_masked = 0
        if self._mask is not None:
            masked = resize_label(self._mask.view(np.uint8), size_hw) == 0
            label = np.where(masked, np.uint8(self.ignore_id), label)
            num_masked = int(masked.sum())
        num_left_out = int((label == self.ignore_id).sum())
        if num_left_out == label.size:
            return None
        self._judged += 1
        self._resized += stored.shape != size_hw
        self._masked += num_masked
        self._ignored += num_left_out - num_masked
        return label

    def counts(self, confusion: ConfusionMatrix) -> TruthCounts:
        """Sum up, once all frames are judged, what the confusion matrix is of."""
        pairing, view = self._pairing, self._wanted.view
        return TruthCounts(
            images=len(pairing.frames),
            messages=pairing.num_labels,
            matched=pairing.num_matched,
            judged=self._judged,
            unmatched=pairing.num_unmatched,
            ambiguous=pairing.num_ambiguous,
            pixels=confusion.num_pixels,
            pixels_ignored=self._ignored,
            pixels_masked=self._masked,
            by_log_time=pairing.num_by_log_time,
            within_tolerance=len(pairing.distances_ns),
            max_distance_ms=max(pairing.distances_ns, default=0) / NS_PER_MS,
            resized=self._resized,
            tolerance_ms=self._wanted.tolerance_ms,
            label_map=self._wanted.label_map.source if self._wanted.label_map else None,
            ignore_id=self._wanted.ignore_id,
            mask=self._wanted.mask.source if self._wanted.mask else None,
            mask_sha256=self._wanted.mask.sha256 if self._wanted.mask else None,
            camera_height_m=view.mounting.height_m if view else None,
            camera_pitch_deg=view.mounting.pitch_deg if view else None,
            camera_info=view.source if view else None,
        )

    def review(self, confusion: ConfusionMatrix, num_replayed: int) -> list[str]:
        """Say, once the first `num_replayed` frames are judged, what a reader of the figures has to know."""
        if self.topic is None:
            return []
        said = []
        if self._judged < MOST * num_replayed:
            said.append(f"only {self._judged} of {num_replayed} images were judged: the figures are of these alone")
        num_matched = sum(frame.ground_truth is not None for frame in self.frames[:num_replayed])
        if self._judged < num_matched:
            said.append(
                f"{num_matched - self._judged} of {num_matched} images with ground truth were not judged: they were dropped "
                "or cannot be decoded, or none of their pixels counts"
            )
        hint = permutation_hint(confusion, [info.name for info in self._classes])
        return [*said, hint] if hint else said

    def _resolve_code(self, manifest: Manifest) -> IdCode | ColorCode:
        """Decide what the stored values mean; raises DatasetError."""
        label_map, ignore_id = self._wanted.label_map, self._wanted.ignore_id
        if label_map is None:
            ids = {info.id: info.id for info in self._classes}
            if manifest.ignore_id is not None:
                ids[manifest.ignore_id] = self.ignore_id
            code: IdCode | ColorCode = IdCode(ids)
        else:
            code = label_map.code(self._classes, self.ignore_id)
            left_out = label_map.left_out(self._classes)
            if left_out:
                self.warnings.append(
                    f"the label map {label_map.source} has classes that the model lacks; not judged are {', '.join(left_out)}"
                )
            absent = [info.name for info in self._classes if info.id not in code.ids.values()]
            if absent:
                self.warnings.append(
                    f"the label map {label_map.source} gives nothing to the model's classes {', '.join(absent)}: wherever they are "
                    "predicted they count as wrong"
                )
        if ignore_id is None:
            return code
        if isinstance(code, ColorCode):
            raise DatasetError(
                f"--ignore-id {ignore_id} is a number, but the label map is of colours; write null after the colour in it"
            )
        if code.ids.get(ignore_id, self.ignore_id) != self.ignore_id:
            name = next(info.name for info in self._classes if info.id == code.ids[ignore_id])
            self.warnings.append(f"--ignore-id {ignore_id} is the class {name} in the labels, which is not judged")
        return IdCode({**code.ids, ignore_id: self.ignore_id})

    def _check_all(self) -> None:
        """Decode every label; raises BagError for the first that cannot be judged by."""
        num_resized = num_stray = num_pixels = 0
        for frame in self.frames:
            label = self._read(frame)
            if label is None or frame.ground_truth is None:
                continue
            if isinstance(self._code, ColorCode):
                num_stray += self._code.num_stray(self._bag.label(frame.ground_truth, colored=True))
            num_pixels += label.size
            try:
                size_hw = self._bag.image_size(frame.image)
            except ImageError:  # counted as bad when its turn comes
                continue
            num_resized += label.shape != size_hw
            if self._wanted.view is not None:
                self._check_regions(self._wanted.view, frame, size_hw)
            if not _fits(label.shape, size_hw):
                raise BagError(
                    f"frame {frame.index}: the label on {frame.ground_truth.topic} at {frame.ground_truth.stamp_ns} ns in "
                    f"{self._bag.path} is {label.shape[0]} x {label.shape[1]} pixels (height x width), its image {size_hw[0]} x "
                    f"{size_hw[1]}; both have to show the same, at whatever size"
                )
            if self._mask is not None and not _fits(self._mask.shape, size_hw):
                raise DatasetError(
                    f"the mask is {self._mask.shape[0]} x {self._mask.shape[1]} pixels (height x width), the images on "
                    f"{self._image_topic.name} {size_hw[0]} x {size_hw[1]}; it has to show the same, at whatever size"
                )
        if num_resized:
            self.warnings.append(
                f"{num_resized} labels are of another size than their images, and are resized (nearest)"
            )
        if num_stray:
            self.warnings.append(
                f"{num_stray} of {num_pixels} pixels of the labels have a colour that the label map lacks, and are not judged"
            )
        if self._mask is not None:
            self.warnings.append(f"the mask leaves out {1 - self._mask.mean():.1%} of the pixels")

    def _check_regions(self, view: CameraView, frame: Frame, size_hw: tuple[int, int]) -> None:
        """Work out the regions of the first image that is judged; raises BagError for further ones of another size."""
        if self.regions is None:
            self.regions = view.regions(self._bag, self._image_topic, size_hw)
            if is_rectified(self._image_topic):
                self.warnings.append(
                    f"{self._image_topic.name} is taken for rectified, by its name: distances are by the camera_info's P"
                )
        elif size_hw != self.regions.calibration.size_hw:
            raise BagError(
                f"frame {frame.index}: the image on {self._image_topic.name} in {self._bag.path} is {size_hw[0]} x "
                f"{size_hw[1]} pixels (height x width), those before {self.regions.calibration.size_hw}: one calibration "
                "cannot be of both; leave out --camera-height"
            )

    def _read(self, frame: Frame) -> np.ndarray | None:
        """Decode a frame's label, uint8 [h, w] in the model's class ids; raises BagError that names frame and topic."""
        message = frame.ground_truth
        if message is None:
            return None
        where = f"on {message.topic} at {message.stamp_ns} ns"
        try:
            stored = self._bag.label(message, colored=isinstance(self._code, ColorCode))
            return self._code.decode(stored, where)
        except DatasetError as error:
            remedy = "other ids are translated with --label-map, one that is not judged is named with --ignore-id"
            raise BagError(f"frame {frame.index}: {error}; {remedy}") from error
        except BagError as error:
            raise BagError(f"frame {frame.index}: {error}") from error


def _fits(size_hw: tuple[int, ...], other_hw: tuple[int, ...]) -> bool:
    """Tell whether two sizes are of one picture, but for rounding."""
    return abs(size_hw[0] * other_hw[1] / (size_hw[1] * other_hw[0]) - 1) <= MAX_DISTORTION
