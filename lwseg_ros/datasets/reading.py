"""Reading one image and its label from disk."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from PIL.PngImagePlugin import PngImageFile

from lwseg_ros.datasets.labels import CodedPath, ColorCode, MatlabCode, check_grey
from lwseg_ros.errors import DatasetError

MAX_PALETTE_PIXELS = 1 << 30  # as many as OpenCV unpacks of other images


def read_pair(image_path: Path, label_path: Path | CodedPath) -> tuple[np.ndarray, np.ndarray]:
    """Read one image and its label.

    The label of a plain path holds class ids; that of a coded path is translated into them. A PNG with a palette gives
    its pixels' numbers, not their colours.

    Returns:
        image: uint8 BGR [H, W, 3].
        label: uint8 [H, W] class ids.

    Raises:
        DatasetError: a file cannot be read, the label is not 8-bit grey, or its size is not the image's; for a coded
            path also where the label holds what stands for no class.
    """
    path, code = (label_path.path, label_path.code) if isinstance(label_path, CodedPath) else (label_path, None)
    image = read_image(image_path)
    if isinstance(code, MatlabCode):
        label = _read_variable(path, code.variable)
    else:
        label = read_image(path) if isinstance(code, ColorCode) else _read_numbers(path)
    if code is None:
        check_grey(label, path)
    else:
        label = code.decode(label, path)
    if image.shape[:2] != label.shape:
        raise DatasetError(
            f"label {path} is {label.shape[0]} x {label.shape[1]} pixels (height x width), its image "
            f"{image_path} {image.shape[0]} x {image.shape[1]}; both have to be the same size"
        )
    return image, label


def read_image(path: Path) -> np.ndarray:
    """Read one image as uint8 BGR [H, W, 3]; raises DatasetError where it cannot be read."""
    return _read_image(path, cv2.IMREAD_COLOR)


def _read_image(path: Path, flags: int) -> np.ndarray:
    image = None
    with suppress(cv2.error):  # larger than OpenCV unpacks
        image = cv2.imread(str(path), flags)
    if image is None:
        raise _unreadable(path)
    return image


def _unreadable(path: Path) -> DatasetError:
    return DatasetError(f"cannot read {path}: missing, or no image that OpenCV knows; check or replace it")


def _read_numbers(path: Path) -> np.ndarray:
    """Read an image as stored; of a PNG with a palette the numbers, uint8 [H, W], which OpenCV would turn into colours."""
    try:
        with PngImageFile(path) as png:  # not Image.open, which warns of images far smaller than OpenCV takes
            if png.mode != "P":
                return _read_image(path, cv2.IMREAD_UNCHANGED)
            if png.width * png.height > MAX_PALETTE_PIXELS:
                raise _unreadable(path)
            png.verify()  # the checksums, which unpacking leaves out
        with PngImageFile(path) as png:
            return np.array(png)
    except (SyntaxError, ValueError):  # another format, or a header that OpenCV may read all the same
        return _read_image(path, cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise _unreadable(path) from error


def _read_variable(path: Path, variable: str) -> np.ndarray:
    """Read an array from a MATLAB file as stored; raises DatasetError, also where SciPy is missing."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DatasetError(
            f"{path} is a MATLAB file, which needs SciPy to be read: pip install scipy, or convert it to PNG"
        ) from error
    try:
        return np.asarray(loadmat(path, variable_names=[variable])[variable])
    except KeyError as error:
        raise DatasetError(f"{path} holds no {variable}; check or replace it") from error
    except Exception as error:  # of damaged files it raises what its parts raise
        raise DatasetError(f"cannot read {path}: {' '.join(str(error).split())}; check or replace it") from error
