"""Camera images of any size in, labels and uncertainty in the same pixels out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.gpu_fixture import fake_gpu
from support.tiny_model import painted_image

from lwseg_ros.backends import BackendOptions
from lwseg_ros.errors import BackendError, ImageError, ModelFileError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.segmenter import Segmenter

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def segmenter(tiny_model: ModelFile) -> Iterator[Segmenter]:
    with Segmenter.open(tiny_model.path, "onnxruntime", options=BackendOptions(max_batch=2)) as opened:
        yield opened


def test_open_says_what_it_opened(segmenter: Segmenter, tiny_model: ModelFile) -> None:
    assert segmenter.model == tiny_model
    assert segmenter.manifest == tiny_model.manifest
    assert segmenter.backend.name == "onnxruntime"
    assert segmenter.choice.reason == "onnxruntime was asked for"


@pytest.mark.parametrize("size_hw", [(48, 64), (96, 128), (100, 90), (30, 64), (480, 640)])
def test_finds_what_was_painted(segmenter: Segmenter, size_hw: tuple[int, int]) -> None:
    image, label = painted_image(size_hw, seed=1)
    segmentation = segmenter.segment([image])[0]
    assert segmentation.label.shape == segmentation.uncertainty.shape == size_hw
    assert segmentation.label.dtype == segmentation.uncertainty.dtype == np.uint8
    assert (segmentation.label == label).mean() > 0.93
    assert segmentation.uncertainty[segmentation.label == label].mean() < 20
    assert segmentation.inference_ms > 0


def test_images_of_several_sizes_equal_each_alone(segmenter: Segmenter) -> None:
    images = [
        painted_image(size, seed)[0] for seed, size in enumerate([(48, 64), (90, 70), (48, 64), (20, 30), (99, 7)])
    ]
    together = segmenter.segment(images)
    assert len(together) == 5
    assert together[0].inference_ms == together[1].inference_ms, "they were in one batch"
    for image, segmentation in zip(images, together, strict=True):
        alone = segmenter.segment([image])[0]
        np.testing.assert_array_equal(segmentation.label, alone.label)
        np.testing.assert_array_equal(segmentation.uncertainty, alone.uncertainty)
    assert segmenter.segment([]) == []


def test_results_of_earlier_calls_stay(segmenter: Segmenter) -> None:
    first = segmenter.segment([painted_image((48, 64), 1)[0]])[0]
    kept = first.label.copy(), first.uncertainty.copy()
    segmenter.segment([painted_image((48, 64), 2)[0], painted_image((48, 64), 3)[0]])
    np.testing.assert_array_equal(first.label, kept[0])
    np.testing.assert_array_equal(first.uncertainty, kept[1])


def test_strided_and_read_only_images(segmenter: Segmenter) -> None:
    image, _ = painted_image((HEIGHT, WIDTH), 4)
    expected = segmenter.segment([image])[0].label
    padded = np.zeros((HEIGHT, WIDTH + 5, 3), np.uint8)
    padded[:, :WIDTH] = image
    np.testing.assert_array_equal(segmenter.segment([padded[:, :WIDTH]])[0].label, expected)
    flipped = np.ascontiguousarray(image[:, ::-1])
    np.testing.assert_array_equal(segmenter.segment([flipped[:, ::-1]])[0].label, expected)
    larger = np.repeat(np.repeat(image, 2, 0), 2, 1)
    np.testing.assert_array_equal(
        segmenter.segment([larger[::-1]])[0].label, segmenter.segment([larger[::-1].copy()])[0].label
    )
    image.setflags(write=False)
    np.testing.assert_array_equal(segmenter.segment([image])[0].label, expected)


def test_labels_go_back_to_the_nearest_pixel_centre(segmenter: Segmenter) -> None:
    """At sizes where no pixel is midway between two, as then either is nearest."""
    for height, width in ((144, 192), (64, 128)):
        image, _ = painted_image((height, width), 5)
        small = segmenter.segment([image], output_size="model")[0].label
        assert small.shape == (HEIGHT, WIDTH)
        rows = np.floor((np.arange(height) + 0.5) * HEIGHT / height).astype(int)
        columns = np.floor((np.arange(width) + 0.5) * WIDTH / width).astype(int)
        np.testing.assert_array_equal(segmenter.segment([image])[0].label, small[np.ix_(rows, columns)])


def test_uncertainty_goes_back_linearly(segmenter: Segmenter) -> None:
    image, _ = painted_image((96, 128), 6)
    small = segmenter.segment([image], output_size="model")[0].uncertainty
    expected = cv2.resize(small, (128, 96), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(segmenter.segment([image])[0].uncertainty, expected)


def test_shrinking_far_averages(segmenter: Segmenter) -> None:
    """One bright column in eight is an eighth of the brightness, not a matter of luck."""
    image = np.zeros((HEIGHT * 8, WIDTH * 8, 3), np.uint8)
    image[:, ::8] = 240
    flat = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    big, small = (segmenter.segment([picture], output_size="model")[0] for picture in (image, flat))
    np.testing.assert_array_equal(big.label, small.label)
    np.testing.assert_array_equal(big.uncertainty, small.uncertainty)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "image 1 is a NoneType, expected a numpy array"),
        ([[0]], "image 1 is a list"),
        (np.zeros((4, 4, 3), np.float32), r"image 1 is float32 \[4, 4, 3\], expected uint8 \[H, W, 3\], BGR"),
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\], expected"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\], expected"),
        (np.zeros((0, 4, 3), np.uint8), r"size \(0, 4\), expected sides of 1 to 16384"),
        (np.zeros((1, 16385, 3), np.uint8), r"size \(1, 16385\)"),
    ],
)
def test_bad_images(segmenter: Segmenter, image: Any, message: str) -> None:
    good = painted_image((48, 64))[0]
    with pytest.raises(ImageError, match=message):
        segmenter.segment([good, image])
    assert len(segmenter.segment([good])) == 1


def test_an_image_without_its_list_is_told_from_a_batch(segmenter: Segmenter) -> None:
    image: Any = painted_image((48, 64))[0]
    for segment in (segmenter.segment, segmenter.submit):
        with pytest.raises(ImageError, match=r"one image, uint8 \[48, 64, 3\]; pass a list: segment\(\[image\]\)"):
            segment(image)
    assert len(segmenter.segment(np.stack([image, image]))) == 2


def test_bad_output_size_model_and_options(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="output_size is 'screen', expected one of camera, model"):
        segmenter.segment([], output_size="screen")
    with pytest.raises(ModelFileError, match="no model"):
        Segmenter.open(tmp_path / "nothing.onnx")


def test_close_twice_and_use_after(segmenter: Segmenter) -> None:
    segmenter.close()
    segmenter.close()
    with pytest.raises(BackendError, match="onnxruntime backend is closed"):
        segmenter.segment([painted_image((48, 64))[0]])


def test_threads_take_turns(segmenter: Segmenter) -> None:
    images = [painted_image((60, 80), seed)[0] for seed in range(8)]
    expected = [segmenter.segment([image])[0].label for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: segmenter.segment([image, image])[1].label, images * 4))
    for index, label in enumerate(found):
        np.testing.assert_array_equal(label, expected[index % 8])


@pytest.mark.parametrize("image_index", [0, 1])
def test_a_label_that_is_no_class_is_refused(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, image_index: int
) -> None:
    images = [painted_image((48, 64), seed)[0] for seed in range(2)]
    infer = segmenter.backend.infer

    def foreign(batch: np.ndarray, value: int) -> tuple[np.ndarray, np.ndarray]:
        label, uncertainty = infer(batch)
        label[image_index, -1, -1] = value
        return label, uncertainty

    for value in (5, 200, 254):
        monkeypatch.setattr(segmenter.backend, "infer", lambda batch, value=value: foreign(batch, value))
        with pytest.raises(BackendError, match=rf"the model gave labels \[{value}\], which are no classes"):
            segmenter.segment(images)
    # The manifest's ignore id is what a pixel gets whose logits are not finite.
    monkeypatch.setattr(segmenter.backend, "infer", lambda batch: foreign(batch, 255))
    assert segmenter.segment(images)[image_index].label[-1, -1] == 255


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("output_size", ["camera", "model"])
def test_what_is_submitted_is_what_is_segmented(
    tiny_model: ModelFile, tmp_path: Path, backend: str, output_size: str
) -> None:
    """On the fake GPU several batches are under way; elsewhere one, which runs when it is waited for."""
    options = BackendOptions(max_batch=2, cache_dir=tmp_path)
    images = [painted_image(size_hw, seed)[0] for seed, size_hw in enumerate([(48, 64), (30, 50)])]
    with (
        fake_gpu("tensorrt"),
        Segmenter.open(tiny_model.path, backend, options=options) as segmenter,
    ):
        assert segmenter.max_under_way == (2 if backend == "tensorrt" else 1)
        expected = segmenter.segment(images, output_size=output_size)
        under_way = [segmenter.submit(images, output_size=output_size) for _ in range(segmenter.max_under_way)]
        if backend == "tensorrt":
            with pytest.raises(BackendError, match="all 2 slots of the tensorrt backend are in use"):
                segmenter.submit(images)
        for submission in under_way:
            for got, wanted in zip(submission.collect(), expected, strict=True):
                np.testing.assert_array_equal(got.label, wanted.label)
                np.testing.assert_array_equal(got.uncertainty, wanted.uncertainty)
                assert got.inference_ms > 0
            submission.release()
            submission.release()
        with pytest.raises(ImageError, match="3 images, expected at most 2; open with a larger max_batch"):
            segmenter.submit([*images, images[0]])
        segmenter.submit(images).release()
        with pytest.raises(ImageError, match=r"image 0 is float64 \[3\]"):
            segmenter.submit([np.zeros(3)], output_size=output_size).collect()
