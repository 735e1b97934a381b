"""Make the README's picture from the sample bag: `python tools/make_overview.py -o docs/images/overview.jpg`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from lwseg_ros.errors import LwsegError
from lwseg_ros.host.files import write_atomically
from lwseg_ros.imaging.drawing import heat_map, legend, overlay
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.sample import SAMPLE_BAG
from lwseg_ros.segmenter import Segmenter

JPEG_QUALITY = 90


def overview(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """Put image, labels over it, uncertainty and legend side by side; uint8 BGR."""
    result = segmenter.segment([image])[0]
    palette = segmenter.manifest.palette_bgr
    classes = segmenter.manifest.classes
    strip = legend([c.name for c in classes], [palette[c.id].tolist() for c in classes], width=140)
    below = image.shape[0] - strip.shape[0]
    strip = cv2.copyMakeBorder(strip, 0, below, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    labels = overlay(image, result.label, palette, alpha=0.6)
    return np.hstack([image, labels, heat_map(result.uncertainty), strip])


def main() -> int:
    """Segment one frame of the sample bag and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--frame", type=int, default=30, help="number of the frame in the bag (default: 30)")
    args = parser.parse_args()
    try:
        with Bag(SAMPLE_BAG) as bag, Segmenter.open(args.model) as segmenter:
            messages = bag.messages(bag.image_topic("/camera/image/compressed"))
            image = next(bag.image(message) for number, message in enumerate(messages) if number == args.frame)
            picture = overview(segmenter, image)
    except StopIteration:
        print(f"make_overview: the bag has no frame {args.frame}", file=sys.stderr)
        return 1
    except LwsegError as error:
        print(f"make_overview: {error}", file=sys.stderr)
        return 1
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output, cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
