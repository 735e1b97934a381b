"""Raw images: messages whose fields contradict each other, against a reference of our own where they do not."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np

from fuzz.runner import pick, refused
from lwseg_ros.errors import ImageError
from lwseg_ros.imaging import messages

# Channels in memory order; x is a channel that is not looked at.
PACKED = {
    **dict.fromkeys(("bgr8", "8UC3", "bgr16", "BGR8", "bgr24"), "bgr"),
    **dict.fromkeys(("rgb8", "rgb16", "Rgb8"), "rgb"),
    **dict.fromkeys(("bgra8", "8UC4", "bgra16"), "bgrx"),
    **dict.fromkeys(("rgba8", "rgba16"), "rgbx"),
    **dict.fromkeys(("mono8", "8UC1", "mono16", "16UC1", "GREY", "Y16"), "m"),
}
YUV422 = {"yuv422": "uyvy", "uyvy": "uyvy", "yuv422_yuy2": "yuyv", "yuyv": "yuyv", "YUY2": "yuyv", "yvyu": "yvyu"}
YUV_PLANES = ("nv12", "nv21", "nv24", "i420", "yv12", "yuv420p")
BAYER = {
    name: sites
    for pattern, sites in {"rggb": "rggb", "bggr": "bggr", "gbrg": "gbrg", "grbg": "grbg"}.items()
    for name in (f"bayer_{pattern}8", f"bayer_{pattern}16", f"Bayer{pattern[:2].upper()}8")
}
KNOWN = (*PACKED, *YUV422, *YUV_PLANES, *BAYER)
UNKNOWN = (
    *("", "\0", "bgr7", "8UC2", "8SC3", "16SC1", "32FC1", "32FC3", "64FC1", "bgr8; jpeg", "rgb888", "jpeg", "nv16"),
    *("bayer8", "bayer_rggb12", "BayerRG12Packed", "bayer_rggb8p", "yuv444p", "yuv420p10", "mono8 mono8", "bgr\uff18"),
    *("bgr8" + " " * 36 + "rotated", "nv12" * 100_000, "\udcffbgr8\udcff", "\x1b[31m"),
)
NOT_FINITE = tuple(np.array([np.nan, np.inf, -np.inf], np.float32))
WIDE = np.array([0, 1, 2, 3, 2**15, 2**16, 2**31, 2**32 - 1])


WRITTEN = (str, str, str, str.upper, str.title, lambda name: name + "\0", lambda name: f" {name.replace('_', '-')} ")


def plain(name: str) -> str:
    """Leave of a name what all spellings of it share; letters and digits of other scripts are others."""
    return "".join(filter(str.isalnum, name.lower()))


_BY_PLAIN_NAME = {plain(name): name for name in KNOWN}


def meant(encoding: str) -> str | None:
    """Return the name of the tables here for an encoding in any spelling, if there is one."""
    return _BY_PLAIN_NAME.get(plain(encoding))


def check(seed: int) -> str:
    """Make a message, in two of five cases a sound one; it has to be read as the reference reads it, or refused."""
    rng = np.random.default_rng([1, seed])
    message, sound = sound_message(rng), True
    for _ in range(int(rng.choice([0, 1, 2, 4], p=[0.4, 0.4, 0.15, 0.05]))):
        damage(message, rng)
        sound = False
    return judge(message, must_be_read=sound)


def judge(message: Any, *, must_be_read: bool = False) -> str:
    """Convert a message; raises AssertionError where it is not read, or read otherwise than the reference reads it."""
    try:
        image = messages.to_bgr(message)
    except ImageError as error:
        if must_be_read:
            raise AssertionError("a sound message is refused") from error
        return refused(error)
    assert image.dtype == np.uint8
    assert image.shape == (message.height, message.width, 3)
    check_pixels(image, message)
    return "read"


def sound_message(rng: np.random.Generator) -> Any:
    """Make a message of noise, with padded rows where the encoding allows."""
    encoding = pick(rng, KNOWN)
    height, width = (int(side) for side in rng.integers(3 if encoding in BAYER else 1, 40, 2))
    if encoding in YUV422:
        width += width % 2
    if encoding in YUV_PLANES and encoding != "nv24":
        height, width = height + height % 2, width + width % 2
    step = width * bytes_per_pixel(encoding)
    rows = rows_of(encoding, height)
    if encoding not in ("nv24", "i420", "yv12", "yuv420p"):
        step += int(rng.choice([0, 0, 1, 13]))
    size = rows * step
    if step == width * bytes_per_pixel(encoding):
        step = int(rng.choice([step, step, 0, size // height]))
    big = int(rng.integers(2))
    data = rng.bytes(
        size - (step - width * bytes_per_pixel(encoding) if size == rows * step and rng.random() < 0.2 else 0)
    )
    data = pick(rng, [bytes, bytes, array_of, memoryview])(data)
    name = pick(rng, WRITTEN)(encoding)
    return SimpleNamespace(height=height, width=width, encoding=name, step=step, is_bigendian=big, data=data)


def array_of(data: bytes) -> array.array[int]:
    """Hold bytes as rclpy does."""
    return array.array("B", data)


def damage(message: Any, rng: np.random.Generator) -> None:
    """Change one field to something that may not fit the others."""
    name = rng.choice(["height", "width", "step", "encoding", "is_bigendian", "data"])
    if name in ("height", "width", "step"):
        value = getattr(message, name)
        near = [value - 1, value + 1, value * 2, value // 2, message.width, message.width * 3, len(message.data)]
        new = int(rng.choice(near) if rng.random() < 0.7 else rng.choice(WIDE))
        setattr(message, name, min(max(new, 0), 2**32 - 1))
    elif name == "encoding":
        message.encoding = pick(rng, KNOWN if rng.random() < 0.7 else UNKNOWN)
    elif name == "is_bigendian":
        message.is_bigendian = int(rng.integers(256))
    elif rng.random() < 0.1:  # as sensors mark what they have not measured
        message.data = pick(rng, NOT_FINITE).tobytes() * (len(message.data) // 4)
    else:
        kept = int(rng.integers(0, len(message.data) + 1))
        message.data = bytes(message.data[:kept]) + bytes(int(rng.choice([0, 0, 1, 100])))


def bytes_per_pixel(encoding: str) -> int:
    """Bytes of a row by its pixels; of planes, those of luma."""
    channels = len(PACKED[encoding]) if encoding in PACKED else 2 if encoding in YUV422 else 1
    return channels * (2 if "16" in encoding else 1)


def rows_of(encoding: str, height: int) -> int:
    """Rows of bytes of an image."""
    return height * 3 if encoding == "nv24" else height * 3 // 2 if encoding in YUV_PLANES else height


def check_pixels(image: np.ndarray, message: Any) -> None:
    """Compare BGR [H, W, 3] with what the bytes of a message mean; raises AssertionError."""
    encoding, height, width = meant(message.encoding), message.height, message.width
    assert encoding is not None, f"{message.encoding!r} is read, but what does it mean?"
    rows, row_bytes = rows_of(encoding, height), width * bytes_per_pixel(encoding)
    step = message.step
    if len(message.data) == rows * row_bytes and step * height in (0, len(message.data)):
        step = row_bytes
    data = np.frombuffer(message.data, np.uint8)
    lines = np.stack([data[row * step : row * step + row_bytes] for row in range(rows)])
    if "16" in encoding:
        lines = lines.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16)
    if encoding in PACKED:
        order = PACKED[encoding]
        pixels = lines.reshape(height, width, len(order))
        planes = [pixels[..., 0 if order == "m" else order.index(channel)] for channel in "bgr"]
        np.testing.assert_array_equal(image, to_8_bits(np.stack(planes, axis=-1)))
    elif encoding in BAYER:
        sites = np.resize(np.array(list(BAYER[encoding])).reshape(2, 2), (2, 2))
        # Bilinear interpolation leaves every sample where it is; the outermost are copies of their neighbours.
        for row, column in ((1, 1), (1, 2), (2, 1), (2, 2)):
            channel = "bgr".index(sites[row % 2, column % 2])
            got = image[row : height - 1 : 2, column : width - 1 : 2, channel]
            np.testing.assert_array_equal(got, to_8_bits(lines)[row : height - 1 : 2, column : width - 1 : 2])
    else:
        luma, u, v = yuv_planes(lines, encoding, height, width)
        expected = yuv_to_bgr(luma, u, v)
        assert np.abs(image.astype(int) - expected).max() <= 2, "YUV differs from BT.601 in video range"


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale 0..65535 to 0..255, rounded; 8 bits stay."""
    return values if values.dtype == np.uint8 else ((values.astype(np.int64) * 510 + 65535) // 131070).astype(np.uint8)


def yuv_planes(lines: np.ndarray, encoding: str, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y, U and V [H, W] of rows of bytes."""
    if encoding in YUV422:
        order = YUV422[encoding]
        pairs = lines.reshape(height, width // 2, 4)
        first, second = (index for index, letter in enumerate(order) if letter == "y")
        luma = np.stack([pairs[..., first], pairs[..., second]], axis=-1).reshape(height, width)
        return luma, *(pairs[..., order.index(letter)].repeat(2, axis=1) for letter in "uv")
    luma, chroma = lines[:height], lines[height:].ravel()
    if encoding == "nv24":
        return luma, *(chroma[offset::2].reshape(height, width) for offset in (0, 1))
    half = (height // 2, width // 2)
    if encoding in ("nv12", "nv21"):
        u, v = chroma[0::2].reshape(half), chroma[1::2].reshape(half)
    else:
        u, v = chroma.reshape(2, *half)
    if encoding in ("nv21", "yv12"):
        u, v = v, u
    return luma, *(plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v))


def yuv_to_bgr(luma: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """BT.601 in video range, in floating point."""
    grey = 255 / 219 * (luma.astype(float) - 16).clip(0)
    blue, red = u.astype(float) - 128, v.astype(float) - 128
    bgr = np.stack([grey + 2.017 * blue, grey - 0.392 * blue - 0.813 * red, grey + 1.596 * red], axis=-1)
    return bgr.clip(0, 255)
