"""Reading one image and its label from disk."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from lwseg_ros.datasets.labels import CodedPath, ColorCode, check_grey
from lwseg_ros.errors import DatasetError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE = 0, 3  # colour types in a PNG's header


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
    image = _read_picture(image_path, cv2.IMREAD_COLOR)
    label = _read_picture(path, cv2.IMREAD_COLOR) if isinstance(code, ColorCode) else _read_numbers(path)
    if image is None or label is None:
        bad = image_path if image is None else path
        raise DatasetError(_unreadable(bad))
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
    image = _read_picture(path, cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(_unreadable(path))
    return image


def _unreadable(path: Path) -> str:
    return f"cannot read {path}: missing, or no picture that OpenCV knows; check or replace it"


def _read_picture(path: Path, flags: int) -> np.ndarray | None:
    try:
        return cv2.imread(str(path), flags)
    except cv2.error:  # larger than OpenCV unpacks
        return None


def _read_numbers(path: Path) -> np.ndarray | None:
    """Read a picture as stored; of a PNG with a palette the numbers, uint8 [H, W], which OpenCV would turn into colours."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
            if not (header.startswith(PNG_SIGNATURE) and len(header) == 26 and header[25] == PALETTE):
                return _read_picture(path, cv2.IMREAD_UNCHANGED)
            data = header + file.read()
    except OSError:
        return None
    depth = header[24]
    try:
        grey = cv2.imdecode(np.frombuffer(_as_grey(data), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, struct.error):
        return None
    # Greys of fewer than 8 bits are spread over 0..255 when they are read.
    return None if grey is None or depth not in (1, 2, 4, 8) else grey // np.uint8(255 // (2**depth - 1))


def _as_grey(data: bytes) -> bytes:
    """Declare a PNG with a palette to be a grey one: the same pixels, without the chunks that speak of the palette."""
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if name == b"IHDR":
            body = bytearray(chunk[4:-4])
            body[4 + 9] = GREY
            chunk = chunk[:4] + bytes(body) + struct.pack(">I", zlib.crc32(body))
        if name in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept)
