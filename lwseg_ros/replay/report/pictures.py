"""Frames as data URIs: the image once, and what lies on it as small pictures of its size."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from lwseg_ros.imaging import drawing
from lwseg_ros.imaging.resizing import resize_image, resize_label, resize_uncertainty
from lwseg_ros.model.manifest import Manifest
from lwseg_ros.replay.kept_frames import KeptFrame
from lwseg_ros.replay.rows import FrameRow

MAX_BYTES = 6_000_000
"""All pictures of a page together, as they stand in it, so that it stays under 8 MB."""
# Width in pixels and JPEG quality: the first of which all pictures together fit; with the last, the first frames that do.
SIZES = ((640, 82), (480, 75), (320, 65), (200, 50))
RIGHT, IGNORED, WRONG = 0, 1, 2
ERROR_STEPS = 6
# Wrong pixels from uncertain, which the model announced, to certain, which it did not; BGR.
UNSURE_BGR, SURE_BGR = np.array([40, 190, 250]), np.array([40, 30, 225])
IGNORED_BGR = np.array([120, 120, 120])


@dataclass(frozen=True)
class Pictures:
    """A kept frame for the page: its row and data URIs; image is a JPEG, what lies on it has transparent pixels.

    Attributes:
        size_hw: of the image as it is shown, pixels.
        truth, errors: None without ground truth; errors are wrong pixels and, grey, those that do not count.
        uncertainty: a JPEG, dark is certain, bright is not; None where the model has none.
    """

    row: FrameRow
    why: str
    size_hw: tuple[int, int]
    image: str
    label: str
    truth: str | None
    uncertainty: str | None
    errors: str | None

    @property
    def num_bytes(self) -> int:
        """How much of the page the frame takes."""
        return sum(len(uri or "") for uri in (self.image, self.label, self.truth, self.uncertainty, self.errors))


def pictures(frames: Sequence[KeptFrame], manifest: Manifest) -> list[Pictures]:
    """Draw the frames as large as MAX_BYTES allows; where even the smallest are too many, the last ones are left out."""
    drawn: list[Pictures] = []
    for width, quality in SIZES:
        drawn = [_draw(frame, manifest, width, quality) for frame in frames]
        if sum(frame.num_bytes for frame in drawn) <= MAX_BYTES:
            return drawn
    sizes = np.cumsum([frame.num_bytes for frame in drawn])
    return drawn[: int(np.searchsorted(sizes, MAX_BYTES, side="right"))]


def error_levels(
    label: np.ndarray, truth: np.ndarray, uncertainty: np.ndarray | None, ignore_id: int | None
) -> np.ndarray:
    """Tell right, ignored and wrong pixels apart, the wrong ones by how sure the model was.

    Args:
        label: uint8 [H, W], predicted.
        truth: uint8 [H, W].
        uncertainty: uint8 [H, W]; None counts as certain.

    Returns:
        uint8 [H, W]: RIGHT, IGNORED, or WRONG plus 0 (not sure) to ERROR_STEPS - 1 (certain).
    """
    sure = np.full(label.shape, ERROR_STEPS - 1, np.uint8)
    if uncertainty is not None:
        sure -= (uncertainty.astype(np.uint16) * ERROR_STEPS // 256).astype(np.uint8)
    levels = np.where(label == truth, RIGHT, WRONG + sure).astype(np.uint8)
    if ignore_id is not None:
        levels[truth == ignore_id] = IGNORED
    return levels


def _draw(frame: KeptFrame, manifest: Manifest, width: int, quality: int) -> Pictures:
    height, full_width = frame.image.shape[:2]
    size_hw = (height, full_width) if full_width <= width else (round(height * width / full_width), width)
    label, uncertainty, truth = frame.prediction.label, frame.prediction.uncertainty, frame.ground_truth
    errors = None
    if truth is not None:
        levels = error_levels(label, truth, uncertainty, manifest.ignore_id)
        errors = _indexed(resize_label(levels, size_hw), _ERROR_PALETTE_BGR, (RIGHT,))
    unpainted = () if manifest.ignore_id is None else (manifest.ignore_id,)
    return Pictures(
        row=frame.row,
        why=frame.why,
        size_hw=size_hw,
        image=_jpeg(resize_image(frame.image, size_hw), quality),
        label=_indexed(resize_label(label, size_hw), manifest.palette_bgr, unpainted),
        truth=None if truth is None else _indexed(resize_label(truth, size_hw), manifest.palette_bgr, unpainted),
        uncertainty=None
        if uncertainty is None
        else _jpeg(drawing.heat_map(resize_uncertainty(uncertainty, size_hw)), quality),
        errors=errors,
    )


def _error_palette_bgr() -> np.ndarray:
    palette = np.zeros((256, 3), np.uint8)
    palette[IGNORED] = IGNORED_BGR
    share = np.linspace(0, 1, ERROR_STEPS)[:, None]
    palette[WRONG : WRONG + ERROR_STEPS] = (UNSURE_BGR + (SURE_BGR - UNSURE_BGR) * share).round()
    return palette


_ERROR_PALETTE_BGR = _error_palette_bgr()


def _indexed(ids: np.ndarray, palette_bgr: np.ndarray, transparent: Sequence[int]) -> str:
    """Encode uint8 [H, W] as a PNG with a palette, in which some ids are seen through."""
    picture = Image.fromarray(ids, mode="P")
    picture.putpalette(palette_bgr[:, ::-1].tobytes())
    opacity = bytearray(b"\xff" * 256)
    for index in transparent:
        opacity[index] = 0
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True, transparency=bytes(opacity))
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _jpeg(image: np.ndarray, quality: int) -> str:
    """Encode uint8 BGR [H, W, 3] as a data URI."""
    ok, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
