"""Copy-and-paste of thin and rare things from one image of a data set into another.

After Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation, CVPR 2021. Labels of
classes have no instances; a connected region of one class stands for a thing. It keeps its place in the image or nearly so, since
the street does: poles stand beside it, and people are small where the road is far.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lwseg_ros.imaging.resizing import resize_image, resize_label
from lwseg_training.config.recipe import PasteSection


def paste_things(
    image: np.ndarray,
    label: np.ndarray,
    donor_image: np.ndarray,
    donor_label: np.ndarray,
    classes: Sequence[int],
    settings: PasteSection,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paste things of a donor, a part of them chosen at random, over an image; what is given stays as it is.

    Args:
        image: uint8 BGR [H, W, 3].
        label: uint8 or int16 [H, W].
        donor_image: uint8 BGR, brought to H x W where it has another size.
        donor_label: uint8, of the donor's size.
        classes: ids of those whose things are pasted.
        settings: which of them, and how far from their places.
        random: what everything is drawn from.

    Returns the image and the label with the things, which carry their class's id.
    """
    image, label = image.copy(), label.copy()
    height, width = label.shape
    donor_image, donor_label = resize_image(donor_image, (height, width)), resize_label(donor_label, (height, width))
    reach = settings.shift * min(height, width)
    for class_id in classes:
        count, regions, stats, _ = cv2.connectedComponentsWithStats((donor_label == class_id).astype(np.uint8))
        for region in range(1, count):
            left, top, box_width, box_height, area = (int(value) for value in stats[region])
            if area > settings.max_share * height * width or random.random() >= settings.things:
                continue
            right, down = (int(value) for value in np.round(random.uniform(-reach, reach, 2)))
            rows, columns = _inside(top, box_height, down, height), _inside(left, box_width, right, width)
            thing = regions[rows, columns] == region
            place = slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right)
            image[place][thing] = donor_image[rows, columns][thing]
            label[place][thing] = class_id
    return image, label


def _inside(first: int, length: int, shift: int, size: int) -> slice:
    """Return the part of ``length`` pixels from ``first`` on that is still within ``size`` pixels once it is moved by ``shift``."""
    begin = max(first, -shift)
    return slice(begin, max(begin, min(first + length, size - shift)))
