"""Random variations of one training sample, a pure function of the sample and a random generator.

Geometry is one affine warp, after averaging where the recipe reduces so, and colour one matrix and one table a channel, so that a
core makes over a hundred samples of 352 x 480 a second; drawing the noise takes two thirds of that.
"""

from __future__ import annotations

import cv2
import numpy as np

from lwseg_training.config.recipe import AugmentationSection

IGNORE = 255
"""The label of pixels that neither the loss nor the metrics count."""

_LUMA_BGR = np.array([0.114, 0.587, 0.299], dtype=np.float32)


def augment(
    image: np.ndarray, label: np.ndarray, settings: AugmentationSection, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Vary a sample and cut it to the crop's size.

    Args:
        image: uint8 BGR [H, W, 3].
        label: uint8 or int16 [H, W], 255 where ignored.

    Returns the image uint8 BGR and the label at ``crop_hw``; where the crop reaches past the image, the label is 255.
    """
    matrix = _random_affine(image.shape[:2], settings, random)
    height, width = settings.crop_hw
    label = cv2.warpAffine(label, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=IGNORE)
    if settings.reduction == "area":
        image, matrix = _reduce(image, matrix)
    image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))
    if random.random() < settings.photometric:
        image = _vary_colors(image, settings, random)
    if random.random() < settings.blur:
        image = cv2.GaussianBlur(image, (0, 0), float(random.uniform(0.3, 1.5)))
    if settings.noise > 0:
        noise = random.standard_normal(image.shape, dtype=np.float32) * np.float32(random.uniform(0, settings.noise))
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    return image, label


def mix_classes(
    image: np.ndarray,
    label: np.ndarray,
    other_image: np.ndarray,
    other_label: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste half of the other sample's classes, chosen at random, over this sample (ClassMix)."""
    present = np.setdiff1d(np.unique(other_label), [IGNORE])
    chosen = random.permutation(present)[: max(1, len(present) // 2)]
    mask = np.isin(other_label, chosen)
    return np.where(mask[..., None], other_image, image), np.where(mask, other_label, label)


def _random_affine(size_hw: tuple[int, int], settings: AugmentationSection, random: np.random.Generator) -> np.ndarray:
    """Draw the 2 x 3 matrix that takes image pixels (x, y) to crop pixels: scale, aspect, rotation, flip and position."""
    height, width = size_hw
    crop_height, crop_width = settings.crop_hw
    uniform = settings.scale_draw == "uniform"
    scale = float(random.uniform(*settings.scale) if uniform else np.exp(random.uniform(*np.log(settings.scale))))
    if settings.short_side is not None:
        scale *= settings.short_side / min(height, width)
    if settings.long_side is not None:
        scale *= settings.long_side / max(height, width)
    stretch = float(np.exp(random.uniform(-1, 1) * np.log1p(settings.aspect) / 2))
    scale_x, scale_y = scale * stretch, scale / stretch
    flip = -1.0 if random.random() < settings.flip else 1.0
    angle = np.deg2rad(random.uniform(-1, 1) * settings.rotation_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.diag([flip * scale_x, scale_y])
    # A scaled image larger than the crop is shifted within it, a smaller one anywhere inside the crop.
    slack = np.abs(np.array([width * scale_x - crop_width, height * scale_y - crop_height])) / 2
    shift = random.uniform(-1, 1, 2) * slack
    image_center = np.array([(width - 1) / 2, (height - 1) / 2])
    crop_center = np.array([(crop_width - 1) / 2, (crop_height - 1) / 2])
    offset = crop_center + shift - linear @ image_center
    return np.column_stack([linear, offset])


def _reduce(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring an image to the matrix's scale by averaging, along each side that shrinks; return it and what is left to do."""
    height, width = image.shape[:2]
    size = np.array([width, height])
    shrink = np.minimum(np.linalg.norm(matrix[:, :2], axis=0), 1)
    reduced = np.maximum(np.round(size * shrink), 1).astype(int)
    if (reduced == size).all():
        return image, matrix
    # Pixel centres are whole numbers: (x + 1/2) * reduced / size - 1/2 is where x comes to lie.
    stretch = size / reduced
    linear = matrix[:, :2] * stretch
    offset = matrix[:, 2] + matrix[:, :2] @ (stretch - 1) / 2
    return cv2.resize(image, reduced.tolist(), interpolation=cv2.INTER_AREA), np.column_stack([linear, offset])


def _vary_colors(image: np.ndarray, settings: AugmentationSection, random: np.random.Generator) -> np.ndarray:
    """Apply saturation, hue and grey as one colour matrix, then gamma, contrast, brightness and colour gain as tables."""

    def factor(jitter: float) -> float:
        return float(1 + random.uniform(-jitter, jitter))

    saturation, hue = factor(settings.saturation), random.uniform(-1, 1) * np.deg2rad(settings.hue_deg)
    if random.random() < settings.gray:
        saturation = 0.0
    matrix = _saturation(saturation) @ _hue_rotation(hue)
    if not np.allclose(matrix, np.eye(3)):
        image = cv2.transform(image, matrix)

    gamma, contrast, brightness = (factor(j) for j in (settings.gamma, settings.contrast, settings.brightness))
    mean = float(cv2.mean(image)[:3] @ _LUMA_BGR) / 255
    levels = np.linspace(0, 1, 256)
    table = (((levels - mean) * contrast + mean) * brightness).clip(0, 1) ** gamma
    tables = [np.clip(table * factor(settings.color_gain), 0, 1) for _ in range(3)]
    return cv2.LUT(image, np.round(255 * np.stack(tables, axis=-1)).astype(np.uint8)[None])


def _saturation(factor: float) -> np.ndarray:
    """Return the BGR matrix that moves each pixel between its grey (0) and itself (1)."""
    return factor * np.eye(3) + (1 - factor) * np.tile(_LUMA_BGR, (3, 1))


def _hue_rotation(angle: float) -> np.ndarray:
    """Return the BGR matrix that turns colours about the grey axis, angle in radians."""
    cosine, sine = np.cos(angle), np.sin(angle) / np.sqrt(3)
    return cosine * np.eye(3) + (1 - cosine) / 3 + sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
