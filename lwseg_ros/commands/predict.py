"""`lwseg predict`: label, uncertainty and overlay images of images, folders and videos."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from lwseg_ros.backends import BACKENDS
from lwseg_ros.commands.arguments import MODEL_HELP
from lwseg_ros.errors import ImageError, LwsegError
from lwseg_ros.host.files import write_atomically
from lwseg_ros.host.terminal import say, visible
from lwseg_ros.imaging.drawing import overlay
from lwseg_ros.imaging.headers import UnknownFormatError
from lwseg_ros.imaging.messages import check_size, decode_stream
from lwseg_ros.imaging.video import read_frames, write_video
from lwseg_ros.segmenter import Segmentation, Segmenter

HELP = "Segment images, folders of images and videos into label, uncertainty and overlay."
EXAMPLE = "lwseg predict lite_seg0_camvid street.jpg drive.mp4 -o out/predicted"

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
OTHER_FORMATS = ("BMP", "PPM", "TIFF", "WEBP")  # in the words of Pillow, which tells sizes without decoding


@dataclass(frozen=True)
class Source:
    """One file to segment, and the name that its results get."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Tell a video from an image by its suffix."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IMAGE_OR_VIDEO", help="files, or folders of them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="made where it is missing")
    parser.add_argument("--backend", default="auto", choices=["auto", *BACKENDS], help="default: %(default)s")
    parser.add_argument(
        "--alpha", type=float, default=0.5, help="share of the colours in overlays (default: %(default)s)"
    )
    parser.add_argument("--frames", action="store_true", help="of videos, write each frame's label and uncertainty too")


def run(args: argparse.Namespace) -> int:
    """Segment what can be read; returns 1 where something could not."""
    if not 0 <= args.alpha <= 1:
        say(f"lwseg predict: --alpha is {args.alpha}, expected 0 to 1", file=sys.stderr)
        return 2
    sources, failures = find_sources(args.inputs, args.output)
    done = 0
    with Segmenter.open(args.model, args.backend) as segmenter:
        say(f"{segmenter.model.path.name} on {segmenter.choice.reason}", file=sys.stderr)
        try:
            args.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LwsegError(f"folder {args.output} cannot be made: {error.strerror}") from error
        for source in tqdm(sources, desc="predicting", unit="file", file=sys.stderr, disable=len(sources) < 2):
            try:
                if source.is_video:
                    predict_video(segmenter, source, args.output, args.alpha, each_frame=args.frames)
                else:
                    predict_image(segmenter, source, args.output, args.alpha)
                done += 1
            except ImageError as error:
                failures.append(str(error))
            except OSError as error:
                raise LwsegError(f"{args.output} cannot be written: {error.strerror or error}") from error
    for failure in failures:
        say(f"lwseg predict: {failure}", file=sys.stderr)
    say(f"{done} of {done + len(failures)} inputs segmented into {args.output}, {len(failures)} failed")
    return 1 if failures else 0


def find_sources(inputs: Iterable[Path], output: Path) -> tuple[list[Source], list[str]]:
    """List the files behind the inputs under distinct names, and say of each unusable input why.

    A folder stands for the images and videos directly in it, by name. Raises LwsegError when the output is one of the
    folders, as the next run would take its results for images.
    """
    paths: list[Path] = []
    failures: list[str] = []
    for path in inputs:
        if path.is_dir():
            if output.exists() and path.samefile(output):
                raise LwsegError(f"{output} is both input and output; choose another folder for -o")
            suffixes = IMAGE_SUFFIXES + VIDEO_SUFFIXES
            found = [entry for entry in sorted(path.iterdir()) if entry.is_file() and entry.suffix.lower() in suffixes]
            if not found:
                failures.append(f"folder {path} holds no image and no video; known are {', '.join(suffixes)}")
            paths += found
        elif path.is_file():
            paths.append(path)
        else:
            failures.append(f"{path} does not exist")
    taken: set[str] = set()
    return [Source(path, _free_name(path.stem, taken)) for path in paths], failures


def predict_image(segmenter: Segmenter, source: Source, output: Path, alpha: float) -> None:
    """Write NAME_label.png (class ids), NAME_uncertainty.png and NAME_overlay.png; raises ImageError."""
    image = read_image(source.path)
    segmentation = segmenter.segment([image])[0]
    _write_pair(segmentation, output, source.name)
    _write_png(
        output / f"{source.name}_overlay.png", overlay(image, segmentation.label, segmenter.manifest.palette_bgr, alpha)
    )


def predict_video(segmenter: Segmenter, source: Source, output: Path, alpha: float, *, each_frame: bool) -> None:
    """Write NAME_overlay.mp4 and, when asked, NAME_frames/000000_label.png and so on; raises ImageError.

    A header that counts more frames than can be decoded is mentioned, no failure: many recorders only estimate.
    """
    video = read_frames(source.path)
    palette = segmenter.manifest.palette_bgr
    frames_folder = output / f"{source.name}_frames"
    if each_frame:
        frames_folder.mkdir(exist_ok=True)

    def overlays() -> Iterator[np.ndarray]:
        bar = tqdm(
            video.frames,
            total=video.num_frames,
            desc=visible(source.path.name),
            unit="frame",
            file=sys.stderr,
            leave=False,
        )
        for index, frame in enumerate(bar):
            segmentation = segmenter.segment([frame])[0]
            if each_frame:
                _write_pair(segmentation, frames_folder, f"{index:06d}")
            yield overlay(frame, segmentation.label, palette, alpha)

    written = write_video(output / f"{source.name}_overlay.mp4", overlays(), video.rate_hz)
    if video.num_frames is not None and written < video.num_frames:
        say(
            f"lwseg predict: {source.path} ends after {written} of the {video.num_frames} frames that its header counts; "
            "these are segmented",
            file=sys.stderr,
        )


def read_image(path: Path) -> np.ndarray:
    """Read an image as uint8 BGR [H, W, 3], turned by its EXIF orientation; raises ImageError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return decode_stream(data, upright=True)
    except UnknownFormatError:
        pass
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    try:
        with Image.open(io.BytesIO(data), formats=OTHER_FORMATS) as header:
            check_size(header.height, header.width)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (ImageError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: {error}") from error
    except (cv2.error, OSError):
        image = None
    if image is None:
        raise ImageError(f"{path} is not an image, or a damaged one")
    return image


def _free_name(stem: str, taken: set[str]) -> str:
    """Return the stem, or stem-2, stem-3, ...; file systems may not tell upper from lower case."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name


def _write_pair(segmentation: Segmentation, folder: Path, name: str) -> None:
    _write_png(folder / f"{name}_label.png", segmentation.label)
    _write_png(folder / f"{name}_uncertainty.png", segmentation.uncertainty)


def _write_png(path: Path, image: np.ndarray) -> None:
    _, data = cv2.imencode(".png", image)
    write_atomically(path, data.tobytes())
