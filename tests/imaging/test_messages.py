"""Every encoding against an independent computation; every kind of broken message against its error."""

from __future__ import annotations

import array
import struct
import sys
import types
import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from lwseg_ros.errors import ImageError
from lwseg_ros.imaging import messages

HEIGHT, WIDTH = 12, 20
RNG = np.random.default_rng(7)
BGR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
BGR16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
MONO = BGR[..., 0]
MONO16 = BGR16[..., 0]
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)

BAYER_SITES = {  # the channel (in BGR order) at each of the four sites of a tile
    "rggb": ((2, 1), (1, 0)),
    "bggr": ((0, 1), (1, 2)),
    "gbrg": ((1, 0), (2, 1)),
    "grbg": ((1, 2), (0, 1)),
}


def real_message(**fields: Any) -> Any:
    sensor_msgs = pytest.importorskip(
        "sensor_msgs.msg", reason="sensor_msgs is not installed: pip install lwseg_ros[ros]"
    )
    data = array.array("B", fields.pop("data"))
    return sensor_msgs.Image(data=data, **fields)


@pytest.fixture(params=["duck", "sensor_msgs"])
def make(request: pytest.FixtureRequest) -> Any:
    """Build an image message from rows of bytes, as a plain object and as the real thing."""

    def build(
        rows: np.ndarray, encoding: str, *, height: int = HEIGHT, width: int = WIDTH, padding: int = 0, big: int = 0
    ) -> Any:
        rows = np.ascontiguousarray(rows)
        plain = rows.view(np.uint8).reshape(rows.shape[0], -1)
        padded = np.pad(plain, ((0, 0), (0, padding)), constant_values=0xAA)
        fields = {
            "height": height,
            "width": width,
            "encoding": encoding,
            "step": padded.shape[1],
            "is_bigendian": big,
            "data": padded.tobytes(),
        }
        return SimpleNamespace(**fields) if request.param == "duck" else real_message(**fields)

    return build


def scaled(values: np.ndarray) -> np.ndarray:
    """Scale 0..65535 to 0..255, rounded, in exact integers."""
    return ((values.astype(np.int64) * 510 + 65535) // 131070).astype(np.uint8)


def yuv_to_bgr(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """BT.601 in video range, in floating point."""
    luma = 255 / 219 * (y.astype(float) - 16)
    u, v = u.astype(float) - 128, v.astype(float) - 128
    red = luma + 1.596 * v
    green = luma - 0.392 * u - 0.813 * v
    blue = luma + 2.017 * u
    return np.clip(np.stack([blue, green, red], axis=-1), 0, 255)


PACKED = {
    "bgr8": (BGR, BGR),
    "rgb8": (BGR[..., ::-1], BGR),
    "bgra8": (np.concatenate([BGR, ALPHA], axis=-1), BGR),
    "rgba8": (np.concatenate([BGR[..., ::-1], ALPHA], axis=-1), BGR),
    "mono8": (MONO, np.stack([MONO] * 3, axis=-1)),
    "8UC1": (MONO, np.stack([MONO] * 3, axis=-1)),
    "8UC3": (BGR, BGR),
    "8UC4": (np.concatenate([BGR, ALPHA], axis=-1), BGR),
}
PACKED16 = {
    "mono16": (MONO16, np.stack([scaled(MONO16)] * 3, axis=-1)),
    "16UC1": (MONO16, np.stack([scaled(MONO16)] * 3, axis=-1)),
    "bgr16": (BGR16, scaled(BGR16)),
    "rgb16": (BGR16[..., ::-1], scaled(BGR16)),
    "bgra16": (np.concatenate([BGR16, BGR16[..., :1]], axis=-1), scaled(BGR16)),
    "rgba16": (np.concatenate([BGR16[..., ::-1], BGR16[..., :1]], axis=-1), scaled(BGR16)),
}


@pytest.mark.parametrize("padding", [0, 1, 12])
@pytest.mark.parametrize("encoding", PACKED)
def test_packed_encodings(make: Any, encoding: str, padding: int) -> None:
    source, expected = PACKED[encoding]
    message = make(source, encoding, padding=padding)
    np.testing.assert_array_equal(messages.view(message), source)
    np.testing.assert_array_equal(messages.to_bgr(message), expected)


@pytest.mark.parametrize("padding", [0, 1, 12])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", PACKED16)
def test_16_bit_encodings_in_both_byte_orders(make: Any, encoding: str, big: int, padding: int) -> None:
    source, expected = PACKED16[encoding]
    message = make(source.astype(">u2" if big else "<u2"), encoding, padding=padding, big=big)
    np.testing.assert_array_equal(messages.view(message), source)
    converted = messages.to_bgr(message)
    assert converted.dtype == np.uint8
    np.testing.assert_array_equal(converted, expected)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv"), ("yvyu", "yvyu")],
)
def test_yuv422(make: Any, encoding: str, order: str, padding: int) -> None:
    y = RNG.integers(16, 236, (HEIGHT, WIDTH), dtype=np.uint8)
    u, v = (RNG.integers(16, 241, (HEIGHT, WIDTH // 2), dtype=np.uint8) for _ in "uv")
    planes = {"u": iter([u]), "v": iter([v]), "y": iter([y[:, 0::2], y[:, 1::2]])}
    packed = np.stack([next(planes[letter]) for letter in order], axis=-1).reshape(HEIGHT, WIDTH, 2)
    expected = yuv_to_bgr(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    got = messages.to_bgr(make(packed, encoding, padding=padding))
    np.testing.assert_allclose(got, expected, atol=2)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_yuv420(make: Any, encoding: str, padding: int) -> None:
    y = RNG.integers(16, 236, (HEIGHT, WIDTH), dtype=np.uint8)
    u, v = (RNG.integers(16, 241, (HEIGHT // 2, WIDTH // 2), dtype=np.uint8) for _ in "uv")
    chroma = np.stack([u, v] if encoding == "nv12" else [v, u], axis=-1).reshape(HEIGHT // 2, WIDTH)
    planes = np.concatenate([y, chroma])
    expected = yuv_to_bgr(y, *(plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v)))
    message = make(planes, encoding, padding=padding)
    np.testing.assert_array_equal(messages.view(message), planes)
    np.testing.assert_allclose(messages.to_bgr(message), expected, atol=2)


def test_yuv420_with_the_chroma_spread_over_the_step(make: Any) -> None:
    planes = RNG.integers(16, 236, (HEIGHT * 3 // 2, WIDTH), dtype=np.uint8)
    for encoding in ("nv12", "i420"):
        message = make(planes, encoding)
        expected = messages.to_bgr(message)
        message.step = WIDTH * 3 // 2
        np.testing.assert_array_equal(messages.to_bgr(message), expected)


@pytest.mark.parametrize("encoding", ["i420", "yv12"])
@pytest.mark.parametrize("height", [HEIGHT, HEIGHT + 2])
def test_yuv420_in_three_planes(make: Any, encoding: str, height: int) -> None:
    y = RNG.integers(16, 236, (height, WIDTH), dtype=np.uint8)
    u, v = (RNG.integers(16, 241, (height // 2, WIDTH // 2), dtype=np.uint8) for _ in "uv")
    chroma = [u, v] if encoding == "i420" else [v, u]
    planes = np.concatenate([plane.ravel() for plane in (y, *chroma)]).reshape(height * 3 // 2, WIDTH)
    expected = yuv_to_bgr(y, *(plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v)))
    np.testing.assert_allclose(messages.to_bgr(make(planes, encoding, height=height)), expected, atol=2)
    with pytest.raises(ImageError, match=f"step 26 of {encoding} has to be 20: rows with padding"):
        messages.to_bgr(make(planes, encoding, height=height, padding=6))


@pytest.mark.parametrize("width", [WIDTH, WIDTH + 1])
def test_yuv444(make: Any, width: int) -> None:
    y, u, v = (RNG.integers(16, 236, (HEIGHT, width), dtype=np.uint8) for _ in "yuv")
    planes = np.concatenate([y.ravel(), np.dstack([u, v]).ravel()]).reshape(HEIGHT * 3, width)
    message = make(planes, "nv24", width=width)
    np.testing.assert_allclose(messages.to_bgr(message), yuv_to_bgr(y, u, v), atol=2)
    message.step = width * 3
    np.testing.assert_allclose(messages.to_bgr(message), yuv_to_bgr(y, u, v), atol=2)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("BGR8", "bgr8"),
        ("RGB8", "rgb8"),
        ("Mono8", "mono8"),
        ("8uc3", "8UC3"),
        ("bgr8\0", "bgr8"),
        ("bgr8" + "\0" * 60, "bgr8"),
        ("rgb24", "rgb8"),
        ("GREY", "mono8"),
        ("Y16", "mono16"),
        ("bayerrg8", "bayer_rggb8"),
        ("BayerBG8", "bayer_bggr8"),
        ("BayerGB16", "bayer_gbrg16"),
        ("bayer_gr8", "bayer_grbg8"),
        ("bayer_RGGB8", "bayer_rggb8"),
        ("SBGGR16", "bayer_bggr16"),
        ("UYVY", "uyvy"),
        ("YUY2", "yuyv"),
        ("yuv422_yuyv", "yuyv"),
        ("YUV422_8_UYVY", "uyvy"),
        ("YUV422_YUY2", "yuv422_yuy2"),
        ("NV12", "nv12"),
        ("nv24", "nv24"),
        ("yuv420p", "i420"),
        ("YV12", "yv12"),
    ],
)
def test_names_that_drivers_use(make: Any, written: str, meant: str) -> None:
    itemsize = 2 if "16" in meant else 1
    channels = {"bgr8": 3, "rgb8": 3, "8UC3": 3, "uyvy": 2, "yuyv": 2, "yuv422_yuy2": 2}.get(meant, 1)
    rows = {"nv12": 18, "i420": 18, "yv12": 18, "nv24": 36}.get(meant, HEIGHT)
    data = RNG.integers(0, 256, (rows, WIDTH * channels * itemsize), dtype=np.uint8)
    np.testing.assert_array_equal(messages.to_bgr(make(data, written)), messages.to_bgr(make(data, meant)))


@pytest.mark.parametrize(
    "unknown", ["bayer8", "rgb888", "BayerRG12Packed", "mono12", "jpeg", "yuv444p", "__", "x" * 10**6]
)
def test_a_name_that_may_mean_several_things_is_refused(make: Any, unknown: str) -> None:
    with pytest.raises(ImageError, match="is not supported; there are: bgr8, ") as caught:
        messages.to_bgr(make(BGR, unknown))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("begins", ["bgr8", "mono8", "bayer_rggb8"])
@pytest.mark.parametrize("ends", [" " * 36 + "rotated", "\0" * 60 + "x", "_" * 100 + "16", "." * 10**6 + "?"])
def test_a_name_that_only_begins_like_one_is_refused(make: Any, begins: str, ends: str) -> None:
    with pytest.raises(ImageError, match="is not supported; there are: bgr8, ") as caught:
        messages.to_bgr(make(BGR if begins == "bgr8" else BGR[..., 0], begins + ends))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("encoding", [*PACKED, "nv12", "i420", "nv24", "bayer_rggb8"])
def test_a_step_that_was_left_out(make: Any, encoding: str) -> None:
    source = PACKED[encoding][0] if encoding in PACKED else None
    if source is None:
        rows = {"nv12": 18, "i420": 18, "nv24": 36}.get(encoding, HEIGHT)
        source = RNG.integers(0, 256, (rows, WIDTH), dtype=np.uint8)
    message = make(source, encoding)
    expected = messages.to_bgr(message)
    message.step = 0
    np.testing.assert_array_equal(messages.to_bgr(message), expected)
    message.data = message.data[:-1]
    with pytest.raises(ImageError, match="step 0 is too small"):
        messages.to_bgr(message)


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("pattern", BAYER_SITES)
def test_bayer_channels_are_in_place(make: Any, pattern: str, bits: int, big: int) -> None:
    """Bilinear demosaicing reproduces a scene of linear ramps exactly, but only with every channel at its site."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    scene = np.stack([10 + 2 * columns, 100 + 4 * rows, 200 - 2 * columns - 4 * rows], axis=-1)
    mosaic = np.zeros((HEIGHT, WIDTH), np.int64)
    for row in (0, 1):
        for column in (0, 1):
            channel = BAYER_SITES[pattern][row][column]
            mosaic[row::2, column::2] = scene[row::2, column::2, channel]
    raw = mosaic.astype(np.uint8) if bits == 8 else (mosaic * 257).astype(">u2" if big else "<u2")
    converted = messages.to_bgr(make(raw, f"bayer_{pattern}{bits}", big=big))
    np.testing.assert_array_equal(converted[2:-2, 2:-2], scene[2:-2, 2:-2])


def test_every_supported_encoding_is_tested() -> None:
    yuv = {"yuv422", "uyvy", "yuv422_yuy2", "yuyv", "yvyu", "nv12", "nv21", "nv24", "i420", "yv12"}
    bayer = {f"bayer_{pattern}{bits}" for pattern in BAYER_SITES for bits in (8, 16)}
    assert set(messages.SUPPORTED_ENCODINGS) == {*PACKED, *PACKED16, *yuv, *bayer}


@pytest.mark.parametrize(
    "wrap", [bytes, bytearray, memoryview, lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint8)]
)
def test_view_shares_the_memory_of_the_message(wrap: Any) -> None:
    data = wrap(BGR.tobytes())
    message = SimpleNamespace(height=HEIGHT, width=WIDTH, encoding="bgr8", step=WIDTH * 3, is_bigendian=0, data=data)
    pixels = messages.view(message)
    assert np.shares_memory(pixels, np.frombuffer(data, np.uint8))
    assert np.shares_memory(messages.to_bgr(message), pixels)
    assert not pixels.flags.writeable


def test_a_list_of_numbers_is_read_too() -> None:
    message = SimpleNamespace(height=1, width=2, encoding="mono8", step=2, is_bigendian=0, data=[3, 250])
    np.testing.assert_array_equal(messages.view(message), [[3, 250]])


def test_the_last_row_may_lack_its_padding(make: Any) -> None:
    message = make(BGR, "bgr8", padding=5)
    message.data = message.data[:-5]
    np.testing.assert_array_equal(messages.to_bgr(message), BGR)


def changed(message: Any, **fields: Any) -> Any:
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "mono16", "yuv422", "nv12", "bayer_rggb8"])
@pytest.mark.parametrize("lost", [1, 100])
def test_truncated_data(make: Any, encoding: str, lost: int) -> None:
    size = {"bgr8": 3, "mono16": 2, "yuv422": 2, "nv12": 1.5}.get(encoding, 1)
    message = make(np.zeros((HEIGHT, int(WIDTH * size)), np.uint8), encoding)
    if encoding == "nv12":
        message.step = WIDTH
    message.data = message.data[:-lost]
    with pytest.raises(ImageError, match=rf"truncated: {len(message.data)} bytes.*take {len(message.data) + lost}"):
        messages.to_bgr(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step": 0, "height": 11}, "step 0 is too small: a row of 20 pixels in bgr8 takes 60 bytes"),
        ({"step": 59}, "step 59 is too small"),
        ({"step": 64}, "truncated: 720 bytes, but 12 rows of step 64"),
        ({"height": 6}, "longer than its step allows: 720 bytes"),
        ({"data": array.array("B")}, "truncated: 0 bytes"),
        ({"encoding": "bgr7"}, "encoding 'bgr7' is not supported; there are: bgr8, "),
        ({"encoding": ""}, "encoding '' is not supported"),
        ({"encoding": "32FC1"}, "encoding '32FC1' is not supported"),
        ({"height": 0}, "height 0 and width 20 in bgr8 is empty"),
        ({"width": 0}, "height 12 and width 0 in bgr8 is empty"),
        ({"height": 2**32 - 1, "width": 2**32 - 1}, "too large"),
        ({"height": 1, "width": 20000, "step": 60000}, "height 1 and width 20000 is too large"),
        ({"height": 8193, "width": 8193, "step": 8193 * 3}, "too large: at most 67108864 pixels and 16384 to a side"),
        ({"encoding": "yuv422", "width": 19}, "height 12 and width 19 cannot be yuv422: .* width of 2"),
        ({"encoding": "nv12", "width": 19}, "cannot be nv12"),
        ({"encoding": "nv21", "height": 11}, "height 11 and width 20 cannot be nv21"),
        ({"encoding": "bayer_rggb8", "height": 2}, "too small; at least 3 x 3"),
    ],
)
def test_contradicting_fields(make: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        messages.to_bgr(changed(make(BGR, "bgr8"), **fields))


def test_cv_bridge_serves_what_the_table_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """cv_bridge comes with a ROS distribution only, so this checks our side of the call."""

    class CvBridgeError(TypeError):
        pass

    class CvBridge:
        def imgmsg_to_cv2(self, message: Any, encoding: str) -> np.ndarray:
            if message.encoding != "yuv444":
                raise CvBridgeError(f"Unrecognized image encoding [{message.encoding}]")
            assert encoding == "bgr8"
            return BGR

    module = types.ModuleType("cv_bridge")
    module.__dict__.update(CvBridge=CvBridge, CvBridgeError=CvBridgeError)
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    message = SimpleNamespace(height=HEIGHT, width=WIDTH, encoding="yuv444", step=60, is_bigendian=0, data=b"")
    np.testing.assert_array_equal(messages.to_bgr(message), BGR)
    message.encoding = "nonsense"
    with pytest.raises(ImageError, match=r"cv_bridge cannot convert encoding 'nonsense'.*Unrecognized"):
        messages.to_bgr(message)


def compressed(data: bytes, kind: str = "jpeg") -> Any:
    return SimpleNamespace(format=kind, data=array.array("B", data))


def encode(extension: str, image: np.ndarray) -> bytes:
    done, data = cv2.imencode(extension, image)
    assert done
    return data.tobytes()


SMOOTH = cv2.resize(RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8), (96, 64), interpolation=cv2.INTER_CUBIC)


def test_png_is_exact() -> None:
    np.testing.assert_array_equal(messages.decode_compressed(compressed(encode(".png", BGR), "png")), BGR)


def test_jpeg_is_close() -> None:
    decoded = messages.decode_compressed(compressed(encode(".jpg", SMOOTH), "bgr8; jpeg compressed bgr8"))
    np.testing.assert_allclose(decoded.astype(int), SMOOTH, atol=16)


def test_real_compressed_message() -> None:
    sensor_msgs = pytest.importorskip(
        "sensor_msgs.msg", reason="sensor_msgs is not installed: pip install lwseg_ros[ros]"
    )
    message = sensor_msgs.CompressedImage(format="png", data=array.array("B", encode(".png", BGR)))
    np.testing.assert_array_equal(messages.decode_compressed(message), BGR)


def test_16_bit_and_grey_png_become_8_bit_bgr() -> None:
    decoded = messages.decode_compressed(compressed(encode(".png", BGR16), "png"))
    np.testing.assert_array_equal(decoded, (BGR16 >> 8).astype(np.uint8))
    decoded = messages.decode_compressed(compressed(encode(".png", MONO), "mono8; png compressed"))
    np.testing.assert_array_equal(decoded, np.stack([MONO] * 3, axis=-1))


def test_a_compressed_mosaic_is_demosaiced() -> None:
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = 200, 100, 100, 30
    decoded = messages.decode_compressed(compressed(encode(".png", mosaic), "bayer_rggb8; png compressed "))
    np.testing.assert_array_equal(decoded[2:-2, 2:-2], np.broadcast_to([30, 100, 200], (HEIGHT - 4, WIDTH - 4, 3)))


def test_an_orientation_tag_is_ignored() -> None:
    """A tag that says "rotate by 90 degrees" must not swap height and width."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    plain = encode(".jpg", SMOOTH)
    tagged = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR).shape == (96, 64, 3)
    np.testing.assert_array_equal(
        messages.decode_compressed(compressed(tagged)), messages.decode_compressed(compressed(plain))
    )


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated_stream(extension: str, kept: float) -> None:
    data = encode(extension, SMOOTH)
    with pytest.raises(ImageError, match=r"truncated|breaks off|premature end|neither JPEG nor PNG"):
        messages.decode_compressed(compressed(data[: int(len(data) * kept)]))


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_zeros_after_the_end_are_harmless(extension: str) -> None:
    data = encode(extension, SMOOTH)
    np.testing.assert_array_equal(
        messages.decode_compressed(compressed(data + bytes(16))), messages.decode_compressed(compressed(data))
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither JPEG nor PNG: 0 bytes"),
        (b"not an image at all", "neither JPEG nor PNG: 19 bytes, the first 6e 6f 74 20"),
        (b"GIF89a" + bytes(40), "neither JPEG nor PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "corrupt: its header breaks off"),
        (b"\xff\xd8\xff\xda\0\x02" + bytes(40) + b"\xff\xd9", "corrupt: its header breaks off"),
        (encode(".jpg", SMOOTH)[:300] + bytes(64) + b"\xff\xd9", "JPEG|jpeg"),
    ],
)
def test_corrupt_stream(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        messages.decode_compressed(compressed(data))


def test_corrupt_png_pixels() -> None:
    data = bytearray(encode(".png", BGR))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match=r"the png of .* is corrupt"):
        messages.decode_compressed(compressed(bytes(data), "png"))


def test_a_decompression_bomb_is_not_unpacked() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="height 60000 and width 60000 is too large"):
        messages.decode_compressed(compressed(png, "png"))
    jpeg = bytearray(encode(".jpg", SMOOTH))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    with pytest.raises(ImageError, match="height 60000 and width 60000 is too large"):
        messages.decode_compressed(compressed(bytes(jpeg)))


@pytest.mark.parametrize(
    ("image", "encoding"),
    [(BGR, "bgr8"), (MONO, "mono8"), (BGR[:, ::2], "bgr8"), (BGR[..., ::-1], "rgb8"), (MONO16, "mono16")],
)
def test_fill_round_trip(image: np.ndarray, encoding: str) -> None:
    sensor_msgs = pytest.importorskip(
        "sensor_msgs.msg", reason="sensor_msgs is not installed: pip install lwseg_ros[ros]"
    )
    for message in (SimpleNamespace(), sensor_msgs.Image()):
        messages.fill(message, image, encoding)
        assert isinstance(message.data, array.array)
        assert (message.height, message.width) == image.shape[:2]
        assert message.step * message.height == len(message.data) == image.nbytes
        np.testing.assert_array_equal(messages.view(message), image)


def test_fill_floats() -> None:
    message = SimpleNamespace()
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    messages.fill(message, values, "32FC1")
    assert (message.height, message.width, message.step, message.encoding) == (3, 4, 16, "32FC1")
    dtype = ">f4" if message.is_bigendian else "<f4"
    np.testing.assert_array_equal(np.frombuffer(message.data, dtype).reshape(3, 4), values)
