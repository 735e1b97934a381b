"""Label images as small PNGs: rows of equal class ids are runs."""

from __future__ import annotations

import cv2
import numpy as np

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.resizing import resize_label

# Of zlib's strategies run lengths alone give the smallest files of labels that take no longer to write; the level hardly matters.
_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
FORMAT = "mono8; png compressed "
"""What image_transport's compressed plugin writes, and asks for, as the format of such a message."""


def encode_label(label: np.ndarray, divisor: int = 1) -> bytes:
    """Write a label image, uint8 [H, W], as an 8-bit grey PNG, which holds the class ids as they are.

    divisor: height and width become 1 / divisor of the label's, rounded up, by nearest neighbour. Raises ImageError.
    """
    height, width = label.shape
    reduced = resize_label(label, (-(-height // divisor), -(-width // divisor)))
    done, data = cv2.imencode(".png", reduced, _OPTIONS)
    if not done:
        raise ImageError(f"a label image of height {height} and width {width} cannot be written as PNG")
    return data.tobytes()
