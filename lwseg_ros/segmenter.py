"""Images in, labels and uncertainty out. Knows no ROS and no runtime."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from lwseg_ros.backends import (
    Backend,
    BackendChoice,
    BackendOptions,
    OutputCheck,
    Slot,
    SlottedBackend,
    open_best,
)
from lwseg_ros.errors import BackendError, ImageError
from lwseg_ros.imaging.resizing import MAX_SIDE, resize_image, resize_label, resize_uncertainty
from lwseg_ros.model.model_file import DEFAULT_MODEL, Manifest, ModelFile
from lwseg_ros.model.precisions import find_model

OUTPUT_SIZES = ("camera", "model")


@dataclass(frozen=True)
class Segmentation:
    """What a model says of one image.

    label: uint8 [H, W], class ids. uncertainty: uint8 [H, W], 0 certain, 255 not at all. inference_ms: time inside
    `Backend.infer` of the batch that the image was in; on a device with slots, the time that this took.
    """

    label: np.ndarray
    uncertainty: np.ndarray
    inference_ms: float


class Submission(Protocol):
    """A batch on its way; from `Segmenter.submit`."""

    def collect(self) -> list[Segmentation]:
        """Wait, and return one segmentation an image, in order; to be called once.

        The arrays may be the backend's memory: they are only read, and only until `release`. Raises BackendError where the
        runtime failed, or gave what cannot be the model's labels.
        """

    def release(self) -> None:
        """Let go of it, whatever has become of it; again is harmless."""


class Segmenter:
    """A model opened in a runtime; a context manager. Calls from several threads run one after the other."""

    def __init__(self, model: ModelFile, choice: BackendChoice, max_batch: int = 1) -> None:
        """Take over an opened backend that accepts up to max_batch images; `Segmenter.open` is the usual way."""
        self.model = model
        self.choice = choice
        self._max_batch = max_batch
        self._batch = np.empty((max_batch, *model.manifest.input_size_hw, 3), np.uint8)
        self._check_outputs = OutputCheck(model.manifest)
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        model: str | Path = DEFAULT_MODEL,
        backend: str = "auto",
        *,
        precision: str = "auto",
        options: BackendOptions | None = None,
        lost: Mapping[str, str] | None = None,
    ) -> Segmenter:
        """Open a model file or a shipped model in a runtime and a precision; see `precisions.find_model` and `backends.open_best`.

        Raises ModelFileError, BackendUnavailableError or BackendError.
        """
        options = options or BackendOptions()
        file, choice = open_best(find_model(model, precision), backend, options, lost)
        return cls(file, choice, options.max_batch)

    @property
    def backend(self) -> Backend:
        """Return the opened backend."""
        return self.choice.backend

    @property
    def manifest(self) -> Manifest:
        """Return the model's manifest."""
        return self.model.manifest

    def segment(self, images: Sequence[np.ndarray], *, output_size: str = "camera") -> list[Segmentation]:
        """Segment images of any sizes, in batches of up to max_batch.

        images: uint8 BGR [H, W, 3], any strides; only read. output_size: "camera" returns each image's own pixels
        (labels nearest, uncertainty linear), "model" the model's. Raises ImageError, before anything runs, when one
        of the images cannot be used, and BackendError when the runtime fails, gives what cannot be the model's labels, or
        is closed.
        """
        _check_request(images, output_size)
        segmentations: list[Segmentation] = []
        with self._lock:
            for start in range(0, len(images), self._max_batch):
                chunk = images[start : start + self._max_batch]
                batch = self._fill_batch(chunk)
                started = time.perf_counter()
                labels, uncertainties = self.backend.infer(batch)
                inference_ms = (time.perf_counter() - started) * 1e3
                segmentations += self.segmentations(chunk, labels, uncertainties, inference_ms, output_size)
        return segmentations

    @property
    def max_under_way(self) -> int:
        """How many batches may be submitted and not yet released; more than 1 where the runtime works by itself meanwhile."""
        return self.backend.num_slots if isinstance(self.backend, SlottedBackend) else 1

    def submit(self, images: Sequence[np.ndarray], *, output_size: str = "camera") -> Submission:
        """Begin to segment images, at most max_batch, without waiting where the runtime works by itself; see `segment`.

        Raises ImageError, and BackendError where the runtime fails at once, is closed, or has as much under way as it can.
        """
        _check_several(images)  # whose rows are not to be counted
        if len(images) > self._max_batch:
            raise ImageError(f"{len(images)} images, expected at most {self._max_batch}; open with a larger max_batch")
        if not isinstance(self.backend, SlottedBackend):
            return _Waiting(lambda: self.segment(images, output_size=output_size))
        _check_request(images, output_size)
        with self._lock:
            slot = self.backend.acquire()
            try:
                for image, room in zip(images, slot.images, strict=False):
                    resize_image(image, self.manifest.input_size_hw, out=room)
                slot.submit(len(images))
            except BaseException:
                slot.release()
                raise
        return _UnderWay(self, slot, images, output_size)

    def segmentations(
        self,
        images: Sequence[np.ndarray],
        labels: np.ndarray,
        uncertainties: np.ndarray,
        inference_ms: float,
        output_size: str,
    ) -> list[Segmentation]:
        """Check a backend's results uint8 [N, H, W] for N images, and bring them to their size; raises BackendError."""
        self._check_outputs(labels, uncertainties, (len(images), *self.manifest.input_size_hw))
        segmentations = []
        for image, label, uncertainty in zip(images, labels, uncertainties, strict=True):
            size_hw = image.shape[:2] if output_size == "camera" else label.shape
            resized = resize_label(label, size_hw), resize_uncertainty(uncertainty, size_hw)
            segmentations.append(Segmentation(*resized, inference_ms))
        return segmentations

    def close(self) -> None:
        """Close the backend; again is harmless."""
        with self._lock:
            self.backend.close()

    def __enter__(self) -> Segmenter:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the backend."""
        self.close()

    def _fill_batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return uint8 [N, H, W, 3] at the model's size: the image itself where it fits as it is, else a buffer."""
        size_hw = self.manifest.input_size_hw
        if len(images) == 1 and images[0].shape[:2] == size_hw and images[0].flags.c_contiguous:
            return images[0][None]
        for slot, image in zip(self._batch, images, strict=False):
            resize_image(image, size_hw, out=slot)
        return self._batch[: len(images)]


class _Waiting:
    """A batch that runs when it is waited for, in the caller's thread."""

    def __init__(self, segment: Callable[[], list[Segmentation]]) -> None:
        self.collect = segment

    def release(self) -> None:
        pass


class _UnderWay:
    """A batch in a slot of the backend."""

    def __init__(self, segmenter: Segmenter, slot: Slot, images: Sequence[np.ndarray], output_size: str) -> None:
        self._segmenter = segmenter
        self._slot: Slot | None = slot
        self._images = images
        self._output_size = output_size

    def collect(self) -> list[Segmentation]:
        if self._slot is None:
            raise BackendError("this batch was released")
        labels, uncertainties, engine_ms = self._slot.collect()
        return self._segmenter.segmentations(self._images, labels, uncertainties, engine_ms, self._output_size)

    def release(self) -> None:
        if self._slot is not None:
            self._slot.release()
            self._slot = None


def _check_request(images: Sequence[np.ndarray], output_size: str) -> None:
    """Check what `segment` and `submit` are given; raises ImageError."""
    _check_several(images)
    if output_size not in OUTPUT_SIZES:
        raise ImageError(f"output_size is {output_size!r}, expected one of {', '.join(OUTPUT_SIZES)}")
    for index, image in enumerate(images):
        _check_image(image, index)


def _check_several(images: Sequence[np.ndarray]) -> None:
    if isinstance(images, np.ndarray) and images.ndim == 3:  # an array of several has an axis more, and serves
        raise ImageError(f"images is one image, {images.dtype} {list(images.shape)}; pass a list: segment([image])")


def _check_image(image: np.ndarray, index: int) -> None:
    if not isinstance(image, np.ndarray):
        raise ImageError(f"image {index} is a {type(image).__name__}, expected a numpy array")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"image {index} is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3], BGR")
    if not all(1 <= side <= MAX_SIDE for side in image.shape[:2]):
        raise ImageError(f"image {index} has size {image.shape[:2]}, expected sides of 1 to {MAX_SIDE} pixels")
