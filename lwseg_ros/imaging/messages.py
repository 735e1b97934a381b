"""Images in sensor_msgs messages to and from numpy, for every encoding that a colour camera produces.

Messages are duck-typed: anything with the fields of sensor_msgs/Image or CompressedImage will do, so bags can be read
without ROS.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging.headers import UnknownFormatError, read_header
from lwseg_ros.imaging.jpeg import decode_jpeg
from lwseg_ros.imaging.png import decode_png
from lwseg_ros.imaging.resizing import MAX_SIDE

# A message's texts are shown up to here; no encoding has a longer name.
MAX_NAME = 40
# Longer than the largest image is without compression.
MAX_STREAM_BYTES = 1 << 28
# 8192 x 8192; a larger size in a message is a broken header, not a camera.
MAX_PIXELS = 1 << 26

# From Y, U, V and 1 to blue, green, red.
_BT601 = np.array([[1.164, 2.018, 0.0], [1.164, -0.391, -0.813], [1.164, 0.0, 1.596]])
_BT601 = np.column_stack([_BT601, -_BT601 @ (16, 128, 128)])

Converter = Callable[[np.ndarray], np.ndarray]


def _cvt(code: int) -> Converter:
    return lambda image: cv2.cvtColor(image, code)


def _same(image: np.ndarray) -> np.ndarray:
    return image


def _nv24_to_bgr(planes: np.ndarray) -> np.ndarray:
    height = planes.shape[0] // 3
    chroma = planes[height:].reshape(height, -1, 2)
    luma = np.maximum(planes[:height], 16)  # black, as OpenCV has it for the other layouts
    return cv2.transform(np.dstack([luma, chroma]), _BT601)


class _Layout(NamedTuple):
    """How one encoding lies in memory and becomes BGR."""

    to_bgr: Converter
    channels: int = 1
    itemsize: int = 1
    # Rows of bytes per row of pixels, as a fraction: NV12 and its like carry half as many rows of chroma below the luma.
    rows: tuple[int, int] = (1, 1)
    # Chroma rows are not as long as the luma's, so that padding would have no one meaning.
    unpadded: bool = False
    # Width and height must be multiples of these.
    multiple_hw: tuple[int, int] = (1, 1)
    minimum: int = 1


def _bayer(code: int, itemsize: int = 1) -> _Layout:
    # OpenCV leaves images of under three rows or columns black.
    return _Layout(_cvt(code), itemsize=itemsize, minimum=3)


# YUV is BT.601 in video range, as OpenCV and cv_bridge read it.
_UYVY = _Layout(_cvt(cv2.COLOR_YUV2BGR_UYVY), channels=2, multiple_hw=(1, 2))
_YUYV = _Layout(_cvt(cv2.COLOR_YUV2BGR_YUY2), channels=2, multiple_hw=(1, 2))
_YVYU = _Layout(_cvt(cv2.COLOR_YUV2BGR_YVYU), channels=2, multiple_hw=(1, 2))
_I420 = _Layout(_cvt(cv2.COLOR_YUV2BGR_I420), rows=(3, 2), unpadded=True, multiple_hw=(2, 2))
_YV12 = _Layout(_cvt(cv2.COLOR_YUV2BGR_YV12), rows=(3, 2), unpadded=True, multiple_hw=(2, 2))
_NV24 = _Layout(_nv24_to_bgr, rows=(3, 1), unpadded=True)
_NV12 = _Layout(_cvt(cv2.COLOR_YUV2BGR_NV12), rows=(3, 2), multiple_hw=(2, 2))
_NV21 = _Layout(_cvt(cv2.COLOR_YUV2BGR_NV21), rows=(3, 2), multiple_hw=(2, 2))
_MONO = _cvt(cv2.COLOR_GRAY2BGR)
_RGB, _RGBA, _BGRA = (_cvt(code) for code in (cv2.COLOR_RGB2BGR, cv2.COLOR_RGBA2BGR, cv2.COLOR_BGRA2BGR))

# OpenCV's two-letter Bayer constants name the second row's second and third pixel: BayerBG is what ROS calls rggb.
_BAYER_CODES = {
    "rggb": cv2.COLOR_BayerBG2BGR,
    "bggr": cv2.COLOR_BayerRG2BGR,
    "gbrg": cv2.COLOR_BayerGR2BGR,
    "grbg": cv2.COLOR_BayerGB2BGR,
}

_LAYOUTS = {
    "bgr8": _Layout(_same, channels=3),
    "rgb8": _Layout(_RGB, channels=3),
    "bgra8": _Layout(_BGRA, channels=4),
    "rgba8": _Layout(_RGBA, channels=4),
    "mono8": _Layout(_MONO),
    "8UC1": _Layout(_MONO),
    "8UC3": _Layout(_same, channels=3),
    "8UC4": _Layout(_BGRA, channels=4),
    "bgr16": _Layout(_same, channels=3, itemsize=2),
    "rgb16": _Layout(_RGB, channels=3, itemsize=2),
    "bgra16": _Layout(_BGRA, channels=4, itemsize=2),
    "rgba16": _Layout(_RGBA, channels=4, itemsize=2),
    "mono16": _Layout(_MONO, itemsize=2),
    "16UC1": _Layout(_MONO, itemsize=2),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "yvyu": _YVYU,
    "nv12": _NV12,
    "nv21": _NV21,
    "nv24": _NV24,
    "i420": _I420,
    "yv12": _YV12,
    **{f"bayer_{pattern}8": _bayer(code) for pattern, code in _BAYER_CODES.items()},
    **{f"bayer_{pattern}16": _bayer(code, itemsize=2) for pattern, code in _BAYER_CODES.items()},
}

SUPPORTED_ENCODINGS = tuple(_LAYOUTS)

# What V4L2, GenICam, GStreamer and FFmpeg call them, in lower-case letters and digits. Names are left out that mean different
# orders to different people, such as rgb888.
_OTHER_NAMES = {
    "bgr8": ("bgr", "bgr24"),
    "rgb8": ("rgb", "rgb24"),
    "bgra8": ("bgra",),
    "rgba8": ("rgba",),
    "mono8": ("mono", "gray", "grey", "gray8", "grey8", "y8", "y800"),
    "mono16": ("gray16", "grey16", "y16"),
    "uyvy": ("uyvy422", "yuv422uyvy", "yuv4228uyvy"),
    "yuyv": ("yuy2", "yuyv422", "yuv422yuyv", "yuv4228"),
    "yvyu": ("yvyu422",),
    "i420": ("iyuv", "yu12", "yuv420", "yuv420p"),
    **{
        f"bayer_{pattern}{bits}": (f"bayer{pattern[:2]}{bits}", f"s{pattern}{bits}")
        for pattern in _BAYER_CODES
        for bits in (8, 16)
    },
}


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


_STANDARD_NAMES = {_plain(encoding): encoding for encoding in _LAYOUTS} | {
    name: encoding for encoding, names in _OTHER_NAMES.items() for name in names
}


def _standard_name(encoding: str) -> str | None:
    """Return the name in the table for what drivers write; None for an encoding that it lacks."""
    if encoding in _LAYOUTS:
        return encoding
    name = encoding.strip("\0 ")  # some fill up a buffer
    return _STANDARD_NAMES.get(_plain(name)) if len(name) <= MAX_NAME else None


def _unsupported(encoding: str) -> ImageError:
    return ImageError(
        f"encoding {encoding[:MAX_NAME]!r} is not supported; there are: {', '.join(SUPPORTED_ENCODINGS)}; other spellings of these "
        "are read too"
    )


def view(msg: Any) -> np.ndarray:
    """Look at the pixels of a sensor_msgs/Image without copying them.

    Returns a read-only array in the message's own encoding: uint8, or uint16 in the message's byte order; [H, W], or
    [H, W, C] for interleaved channels; [H * 3 / 2, W] for nv12 and its like, [H * 3, W] for nv24, luma above chroma. Padded
    rows become strides. The encoding's name may be in another spelling, and step 0 where the rows have no padding.
    Raises ImageError when the encoding is unknown or the fields contradict each other.
    """
    encoding = _standard_name(msg.encoding)
    if encoding is None:
        raise _unsupported(msg.encoding)
    layout = _LAYOUTS[encoding]
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    _check_size(height, width, layout, encoding)
    rows = height * layout.rows[0] // layout.rows[1]
    row_bytes = width * layout.channels * layout.itemsize
    data_bytes = len(msg.data)
    if data_bytes == rows * row_bytes and step in (0, data_bytes / height):
        step = row_bytes  # left out, or the chroma is spread over the step of the luma rows, as some drivers do
    if step < row_bytes:
        raise ImageError(
            f"step {step} is too small: a row of {width} pixels in {encoding} takes {row_bytes} bytes; "
            "set step to that plus the padding"
        )
    if layout.unpadded and step != row_bytes:
        raise ImageError(f"step {step} of {encoding} has to be {row_bytes}: rows with padding are not supported for it")
    if data_bytes not in (rows * step, (rows - 1) * step + row_bytes):
        kind = "truncated" if data_bytes < rows * step else "longer than its step allows"
        raise ImageError(
            f"the image data is {kind}: {data_bytes} bytes, but {rows} rows of step {step} "
            f"({width} x {height} {encoding}) take {rows * step}"
        )
    byte_order = "|" if layout.itemsize == 1 else ">" if msg.is_bigendian else "<"
    shape = (rows, width) if layout.channels == 1 else (rows, width, layout.channels)
    strides = (step, layout.channels * layout.itemsize, layout.itemsize)[: len(shape)]
    pixels: np.ndarray = np.ndarray(
        shape, np.dtype(f"{byte_order}u{layout.itemsize}"), buffer=_as_bytes(msg.data), strides=strides
    )
    pixels.flags.writeable = False
    return pixels


def to_bgr(msg: Any) -> npt.NDArray[np.uint8]:
    """Convert a sensor_msgs/Image to uint8 BGR [H, W, 3].

    bgr8 and 8UC3 give a read-only view of the message. 16-bit values are scaled from 0..65535 to 0..255 and rounded. An
    encoding that the table lacks is left to cv_bridge where that is installed. Raises ImageError.
    """
    encoding = _standard_name(msg.encoding)
    if encoding is None:
        bridged = _cv_bridge_bgr(msg)
        if bridged is not None:
            return bridged
        raise _unsupported(msg.encoding)
    pixels = view(msg)
    if pixels.itemsize > 1:  # OpenCV reads neither foreign byte order nor rows at odd addresses
        pixels = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    return _to_uint8(_LAYOUTS[encoding].to_bgr(pixels))


def decode_compressed(msg: Any) -> npt.NDArray[np.uint8]:
    """Decode a sensor_msgs/CompressedImage that holds a JPEG or PNG to uint8 BGR [H, W, 3].

    The size, and what else decides the cost, is read and checked before anything is unpacked. An orientation tag is ignored:
    camera_info is about the pixels as the sensor delivers them. A mosaic that was compressed as it is ("bayer_rggb8; png
    compressed") is demosaiced. Raises ImageError.
    """
    source_encoding = _standard_name(msg.format.partition(";")[0]) or ""
    mosaic = _LAYOUTS[source_encoding] if source_encoding.startswith("bayer_") else None
    image = _decode_data(msg, mosaic or _LAYOUTS["bgr8"], as_stored=mosaic is not None)
    return _to_uint8(mosaic.to_bgr(image) if mosaic and image.ndim == 2 else image)


def decode_as_stored(msg: Any) -> np.ndarray:
    """Decode a sensor_msgs/CompressedImage like `decode_compressed`, a grey one to [H, W] in 8 or 16 bits; raises ImageError."""
    return _decode_data(msg, _LAYOUTS["mono8"], as_stored=True)


def decode_stream(data: bytes, *, upright: bool = False) -> npt.NDArray[np.uint8]:
    """Decode a JPEG or PNG to uint8 BGR [H, W, 3], with ``upright`` turned by its EXIF orientation.

    Raises UnknownFormatError where it is of another kind, ImageError where it cannot be used.
    """
    return _to_uint8(_decode(data, _LAYOUTS["bgr8"], upright=upright))


def check_size(height: int, width: int) -> None:
    """Raise ImageError for an image that is larger than any that is accepted."""
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"an image of height {height} and width {width} is too large: "
            f"at most {MAX_PIXELS} pixels and {MAX_SIDE} to a side are accepted"
        )


def fill(msg: Any, image: np.ndarray, encoding: str) -> None:
    """Copy an array [H, W] or [H, W, C] into a sensor_msgs/Image: one memory copy.

    Sets height, width, encoding, step, is_bigendian and data; the header is the caller's.
    """
    pixels = np.ascontiguousarray(image)
    # rosidl takes an array.array as it is, and everything else element by element.
    data = array.array("B")
    data.frombytes(pixels.reshape(-1).view(np.uint8).data)
    msg.height, msg.width = int(pixels.shape[0]), int(pixels.shape[1])
    msg.encoding = encoding
    msg.step = pixels.strides[0]
    msg.is_bigendian = int(pixels.itemsize > 1 and sys.byteorder == "big")
    msg.data = data


def _decode_data(msg: Any, layout: _Layout, as_stored: bool) -> np.ndarray:
    if len(msg.data) > MAX_STREAM_BYTES:
        raise ImageError(
            f"a compressed image of {len(msg.data)} bytes is too large: at most {MAX_STREAM_BYTES} are accepted"
        )
    try:
        return _decode(_as_bytes(msg.data).tobytes(), layout, as_stored=as_stored)
    except UnknownFormatError as error:
        raise ImageError(
            f"the data of format {msg.format[:MAX_NAME]!r} is {error}; publish sensor_msgs/CompressedImage with format jpeg or png"
        ) from error


def _decode(data: bytes, layout: _Layout, *, as_stored: bool = False, upright: bool = False) -> np.ndarray:
    header = read_header(data)
    _check_size(header.height, header.width, layout, header.kind)
    image = (decode_jpeg if header.kind == "jpeg" else decode_png)(data, as_stored, upright)
    if sorted(image.shape[:2]) != sorted((header.height, header.width)):
        raise ImageError(
            f"the {header.kind} decodes to shape {image.shape}, but its header says {header.height} x {header.width}"
        )
    return image


def _check_size(height: int, width: int, layout: _Layout, encoding: str) -> None:
    if height < layout.minimum or width < layout.minimum:
        raise ImageError(
            f"an image of height {height} and width {width} in {encoding} is empty or too small; "
            f"at least {layout.minimum} x {layout.minimum} pixels are needed"
        )
    check_size(height, width)
    if height % layout.multiple_hw[0] or width % layout.multiple_hw[1]:
        raise ImageError(
            f"an image of height {height} and width {width} cannot be {encoding}: "
            f"height must be a multiple of {layout.multiple_hw[0]}, width of {layout.multiple_hw[1]}"
        )


def _as_bytes(data: Any) -> npt.NDArray[np.uint8]:
    """See array.array, bytes, memoryview and numpy data as uint8 [N] without a copy; copy any other sequence."""
    try:
        return np.frombuffer(data, np.uint8)
    except TypeError:
        return np.array(data, np.uint8)
    except ValueError:  # older numpy refuses an empty buffer
        return np.empty(0, np.uint8)


def _to_uint8(image: np.ndarray) -> npt.NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    return np.asarray(cv2.convertScaleAbs(image, alpha=255.0 / 65535.0), np.uint8)


def _cv_bridge_bgr(msg: Any) -> npt.NDArray[np.uint8] | None:
    """Let cv_bridge convert an encoding that the table lacks; None where it is not installed."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError:
        return None
    _check_size(int(msg.height), int(msg.width), _LAYOUTS["bgr8"], msg.encoding)
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(msg, "bgr8"), np.uint8)
    except (CvBridgeError, ValueError, TypeError, RuntimeError) as error:
        raise ImageError(f"cv_bridge cannot convert encoding {msg.encoding!r} to bgr8: {error}") from error
