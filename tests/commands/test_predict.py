"""`lwseg predict` on images, folders and videos, good and bad."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.effort import is_cheap
from support.tiny_model import painted_image

from lwseg_ros.cli import main
from lwseg_ros.commands.predict import find_sources, read_image
from lwseg_ros.errors import ImageError, LwsegError
from lwseg_ros.imaging.drawing import overlay
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter


def write_image(path: Path, size_hw: tuple[int, int] = (60, 80), seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    image, _ = painted_image(size_hw, seed)
    assert cv2.imwrite(str(path), image)
    return image


def write_film(path: Path, num_frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (80, 60))
    for seed in range(num_frames):
        writer.write(painted_image((60, 80), seed)[0])
    writer.release()


def predict(model: ModelFile, *arguments: str | Path) -> int:
    return main(["predict", str(model.path), *map(str, arguments), "--backend", "onnxruntime"])


def test_an_image(tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_image(tmp_path / "street.png")
    out = tmp_path / "deep" / "out"
    assert predict(tiny_model, tmp_path / "street.png", "-o", out, "--alpha", "0.25") == 0
    assert "1 of 1 inputs segmented" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "street_label.png",
        "street_overlay.png",
        "street_uncertainty.png",
    ]
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        expected = segmenter.segment([image])[0]
    label = cv2.imread(str(out / "street_label.png"), cv2.IMREAD_UNCHANGED)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected.label)
    np.testing.assert_array_equal(
        cv2.imread(str(out / "street_uncertainty.png"), cv2.IMREAD_UNCHANGED), expected.uncertainty
    )
    np.testing.assert_array_equal(
        cv2.imread(str(out / "street_overlay.png")),
        overlay(image, expected.label, tiny_model.manifest.palette_bgr, 0.25),
    )


def test_names_do_not_collide(tiny_model: ModelFile, tmp_path: Path) -> None:
    images = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", tmp_path / "b" / "X.bmp", tmp_path / "c" / "x-2.png"]
    for seed, image in enumerate(images):
        write_image(image, seed=seed)
    assert predict(tiny_model, *images, "-o", tmp_path / "out") == 0
    labels = sorted(path.name for path in (tmp_path / "out").glob("*_label.png"))
    assert labels == ["X-3_label.png", "x-2-2_label.png", "x-2_label.png", "x_label.png"]
    contents = {(tmp_path / "out" / name).read_bytes() for name in labels}
    assert len(contents) == 4


def test_a_folder_stands_for_what_is_in_it(tiny_model: ModelFile, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("b.jpg", "a.PNG", "c.tif"):
        write_image(folder / name)
    (folder / "notes.txt").write_text("not an image")
    (folder / "sub.png").mkdir()
    sources, failures = find_sources([folder], tmp_path / "out")
    assert [source.path.name for source in sources] == ["a.PNG", "b.jpg", "c.tif"]
    assert failures == []
    assert predict(tiny_model, folder, "-o", tmp_path / "out") == 0
    assert len(list((tmp_path / "out").iterdir())) == 9
    with pytest.raises(LwsegError, match="is both input and output"):
        find_sources([folder], folder / ".." / "images")


def test_bad_files_cost_themselves_only(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "good.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "noise.bmp").write_bytes(b"BM" + bytes(60))
    (tmp_path / "text.mp4").write_text("no video")
    cut = tmp_path / "cut.png"
    write_image(cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "nothing").mkdir()
    bad = ["empty.jpg", "noise.bmp", "text.mp4", "cut.png", "missing.png", "nothing"]
    inputs = [tmp_path / name for name in (*bad[:3], "good.png", *bad[3:])]
    assert predict(tiny_model, *inputs, "-o", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "1 of 7 inputs segmented" in printed.out
    assert "6 failed" in printed.out
    complaints = [line for line in printed.err.splitlines() if line.startswith("lwseg predict:")]
    assert len(complaints) == 6
    for name in bad:
        assert any(name in line for line in complaints), f"nothing is said about {name}"
    assert len(list((tmp_path / "out").iterdir())) == 3


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0) + bytes(4)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("oddity", ["", "no end", "a marker nobody knows"])
def test_a_photo_is_turned_as_opencv_turns_it(tmp_path: Path, orientation: int, oddity: str) -> None:
    path = tmp_path / "photo.jpg"
    write_image(path)
    data = path.read_bytes()
    tags = b"Exif\0\0" + exif(orientation)
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(tags) + 2) + tags + data[2:]
    path.write_bytes(data)
    expected = cv2.imread(str(path))
    assert (expected.shape[0] == 80) == (orientation in range(5, 9))
    path.write_bytes({"": data, "no end": data[:-2], "a marker nobody knows": data[:-2] + b"\xff\2ab\xff\xd9"}[oddity])
    np.testing.assert_array_equal(read_image(path), expected)


def test_a_png_is_turned_too(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    write_image(path)
    data = path.read_bytes()
    body = b"eXIf" + exif(6)
    path.write_bytes(
        data[:33] + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    )
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tif", ".webp"])
def test_what_a_picture_may_cost_is_read_first(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    image = write_image(path)
    assert read_image(path).shape == image.shape
    data = bytearray(path.read_bytes())
    if suffix == ".bmp":
        data[18:26] = struct.pack("<II", 30000, 30000)
    elif suffix == ".ppm":
        data = data.replace(b"80 60", b"30000 30000")
    elif suffix == ".webp":
        assert cv2.imwrite(str(path), np.zeros((16380, 4100, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 1])
        data = bytearray(path.read_bytes())
    else:
        for tag in (b"\0\1\3\0", b"\1\1\3\0"):
            at = data.index(tag)
            data[at : at + 12] = tag[:2] + struct.pack("<HII", 4, 1, 30000)
    path.write_bytes(data)

    def refuse() -> None:
        with pytest.raises(ImageError, match=r"is too large|exceeds limit"):
            read_image(path)

    assert is_cheap(refuse)


def test_the_contents_decide_what_a_picture_is(tmp_path: Path) -> None:
    image = write_image(tmp_path / "photo.png")
    data = (tmp_path / "photo.png").read_bytes()
    (tmp_path / "photo.bmp").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.bmp"), image)
    (tmp_path / "photo.bmp").write_bytes(data[:33] + b"\xff\xff\xff\xf0" + data[37:])
    with pytest.raises(ImageError, match="a chunk of 4294967280 bytes"):
        read_image(tmp_path / "photo.bmp")


@pytest.mark.filterwarnings("error")
def test_a_video(tiny_model: ModelFile, tmp_path: Path) -> None:
    write_film(tmp_path / "drive.mp4", 6)
    assert predict(tiny_model, tmp_path / "drive.mp4", "-o", tmp_path / "out", "--frames") == 0
    capture = cv2.VideoCapture(str(tmp_path / "out" / "drive_overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    there, frame = capture.read()
    capture.release()
    assert there
    assert frame.shape == (60, 80, 3)
    names = sorted(path.name for path in (tmp_path / "out" / "drive_frames").iterdir())
    assert names[0] == "000000_label.png"
    assert len(names) == 12
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["drive_frames", "drive_overlay.mp4"]


def test_a_video_without_frames_leaves_nothing(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "drive.mp4"
    write_film(film, 6)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 3])
    assert predict(tiny_model, film, "-o", tmp_path / "out") == 1
    assert "drive.mp4" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_video_shorter_than_its_header_says(
    tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (80, 60))
    for seed in range(12):
        writer.write(painted_image((60, 80), seed)[0])
    writer.release()
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
    assert predict(tiny_model, film, "-o", tmp_path / "out") == 0
    printed = capsys.readouterr()
    said = re.search(r"drive\.avi ends after (\d+) of the 12 frames that its header counts", printed.err)
    assert said is not None
    assert "1 of 1 inputs segmented" in printed.out
    capture = cv2.VideoCapture(str(tmp_path / "out" / "drive_overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == int(said[1]) > 0
    capture.release()


def test_an_output_that_cannot_be(tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "street.png")
    (tmp_path / "file").write_text("in the way")
    assert predict(tiny_model, tmp_path / "street.png", "-o", tmp_path / "file") == 1
    assert "file cannot be made" in capsys.readouterr().err
    assert predict(tiny_model, tmp_path / "street.png", "-o", tmp_path / "out", "--alpha", "2") == 2
