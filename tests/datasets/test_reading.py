"""Reading of images and labels."""

from __future__ import annotations

import struct
import sys
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from lwseg_ros.datasets import CodedPath, read_pair
from lwseg_ros.datasets.labels import ColorCode, IdCode, MatlabCode
from lwseg_ros.errors import DatasetError


def write_pair(root: Path, label: np.ndarray) -> tuple[Path, Path]:
    """Write an image of 6 x 8 pixels and a label."""
    assert cv2.imwrite(str(root / "image.png"), np.full((6, 8, 3), 90, np.uint8))
    assert cv2.imwrite(str(root / "label.png"), label)
    return root / "image.png", root / "label.png"


def palette_png(numbers: np.ndarray, depth: int) -> bytes:
    """Encode numbers, [H, W], as a PNG with a palette in which all colours are one red."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = numbers.shape
    bits = (numbers[..., None] >> np.arange(depth)[::-1] & 1).reshape(height, width * depth).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    header = struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"PLTE", bytes([200, 0, 0]) * 2**depth)
        + chunk(b"tRNS", bytes([0]))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_gives_numbers_and_not_colors(depth: int, tmp_path: Path) -> None:
    numbers = np.arange(48).reshape(6, 8) * 5 % 2**depth
    image, label = write_pair(tmp_path, np.zeros((6, 8), np.uint8))
    label.write_bytes(palette_png(numbers, depth))
    read = read_pair(image, label)[1]
    assert read.dtype == np.uint8
    assert read.flags.writeable
    assert np.array_equal(read, numbers)
    table = IdCode({value: 255 - value for value in range(256)})
    assert np.array_equal(read_pair(image, CodedPath(label, table))[1], 255 - numbers)
    label.write_bytes(label.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"cannot read .*label\.png"):
        read_pair(image, label)


def test_a_palette_with_a_wrong_bit_is_refused(tmp_path: Path) -> None:
    image, label = write_pair(tmp_path, np.zeros((6, 8), np.uint8))
    sound = palette_png(np.arange(48).reshape(6, 8) % 4, 2)
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 4
        label.write_bytes(damaged)
        if position < len(sound) - 12:  # nothing depends on what the end marker holds
            with pytest.raises(DatasetError):
                read_pair(image, label)


def test_a_large_palette_is_read_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, label = write_pair(tmp_path, np.zeros((6, 8), np.uint8))
    label.write_bytes(palette_png(np.ones((6, 8), int), 8))
    for limit in (10, 30):  # Pillow's own: an error above twice as many pixels, a warning above it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert (read_pair(image, label)[1] == 1).all()


def test_grey_of_16_bits_is_refused(tmp_path: Path) -> None:
    image, label = write_pair(tmp_path, np.zeros((6, 8), np.uint16))
    with pytest.raises(DatasetError, match=r"label\.png is uint16 \(6, 8\); it has to be 8-bit grey"):
        read_pair(image, label)


def test_colors_are_read_by_their_published_rgb(tmp_path: Path) -> None:
    label_bgr = np.zeros((6, 8, 3), np.uint8)
    label_bgr[:, 4:] = (192, 0, 128)  # RGB (128, 0, 192)
    image, label = write_pair(tmp_path, label_bgr)
    code = ColorCode({(0, 0, 0): 11, (128, 0, 192): 3}, ignore_id=11)
    ids = read_pair(image, CodedPath(label, code))[1]
    assert ids.dtype == np.uint8
    assert ids[0].tolist() == [11] * 4 + [3] * 4
    coded = np.zeros((10, 10, 3), np.uint8)
    coded[0, 0] = 7
    assert code.decode(coded, label).tolist() == [[11] * 10] * 10  # one stray pixel in a hundred
    coded[0, 1] = (1, 2, 250)
    coded[0, 0] = 0
    coded[0, 2] = (1, 2, 250)
    with pytest.raises(
        DatasetError, match=r"2% of its pixels .* RGB \(250, 2, 1\); accepted are the 2 published colours"
    ):
        code.decode(coded, label)


def test_bad_images_are_refused(tmp_path: Path) -> None:
    image, label = write_pair(tmp_path, np.zeros((6, 9), np.uint8))
    with pytest.raises(
        DatasetError, match=r"label .*label\.png is 6 x 9 pixels .* 6 x 8; both have to be the same size"
    ):
        read_pair(image, label)
    assert cv2.imwrite(str(label), np.zeros((6, 8, 3), np.uint8))
    for path in (label, CodedPath(label, IdCode({0: 0}))):
        with pytest.raises(DatasetError, match=r"label\.png is uint8 \(6, 8, 3\); it has to be 8-bit grey"):
            read_pair(image, path)
    image.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"cannot read .*image\.png"):
        read_pair(image, label)
    image, label = write_pair(tmp_path, np.zeros((6, 8), np.uint8))
    label.unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*label\.png: missing"):
        read_pair(image, label)


@pytest.mark.parametrize("palette", [False, True])
def test_a_decompression_bomb_is_refused(palette: bool, tmp_path: Path) -> None:
    image, label = write_pair(tmp_path, np.zeros((6, 8), np.uint8))
    data = bytearray(palette_png(np.zeros((6, 8), int), 8) if palette else label.read_bytes())
    data[16:24] = struct.pack(">II", 100_000, 100_000)  # width and height in the first chunk, IHDR
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    label.write_bytes(data)
    with pytest.raises(DatasetError, match=r"cannot read .*label\.png"):
        read_pair(image, label)


def matlab_pair(root: Path, stored: object) -> tuple[Path, CodedPath]:
    """Write an image and a MATLAB label, of which 7 is class 1 and 300 class 0."""
    image, _ = write_pair(root, np.zeros((6, 8), np.uint8))
    savemat(root / "label.mat", {"L": stored}, do_compression=True)
    return image, CodedPath(root / "label.mat", MatlabCode("L", {7: 1, 300: 0}))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float64])
def test_numbers_of_a_matlab_file_are_translated(kind: type, tmp_path: Path) -> None:
    stored = np.full((6, 8), 7, kind)
    stored[2, 3] = 300
    _, label = read_pair(*matlab_pair(tmp_path, stored))
    assert label.dtype == np.uint8
    assert np.array_equal(label, (stored == 7).astype(np.uint8))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.full((6, 8), 8, np.uint16), r"label.mat holds the values \[8\]; accepted are 7, 300"),
        (np.full((6, 8), 7.5), r"L is float64 \(6, 8\); expected are whole numbers"),
        (np.full((6, 8), 7 + (1 << 16)), r"L is int64 \(6, 8\); expected are whole numbers of 16 bits"),
        (np.full((6, 8, 2), 7), r"L is int64 \(6, 8, 2\)"),
        ("text", r"L is <U4"),
        (np.full((6, 7), 7), r"is 6 x 7 pixels"),
    ],
)
def test_other_matlab_labels_are_refused(stored: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        read_pair(*matlab_pair(tmp_path, stored))


def test_damaged_matlab_files_are_refused(tmp_path: Path) -> None:
    image, label = matlab_pair(tmp_path, np.full((6, 8), 7, np.uint16))
    with pytest.raises(DatasetError, match=r"label.mat holds no S; check"):
        read_pair(image, CodedPath(label.path, MatlabCode("S", {7: 1})))
    whole = label.path.read_bytes()
    for damaged in (
        b"",
        whole[:100],
        whole[:150],
        whole[:-9],
        b"no" + whole,
        whole[:140] + b"\0\xff" * 8 + whole[156:],
    ):
        label.path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"label.mat"):
            read_pair(image, label)


def test_without_scipy_a_matlab_file_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = matlab_pair(tmp_path, np.full((6, 8), 7, np.uint16))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DatasetError, match=r"label.mat is a MATLAB file, which needs SciPy .*pip install scipy"):
        read_pair(*pair)
