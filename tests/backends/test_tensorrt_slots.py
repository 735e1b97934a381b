"""Batches on their way over a device: what is queued, what overlaps, and what becomes of errors. On the fake GPU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gpu_fixture import FakeGpu

from lwseg_ros.backends import BackendOptions, tensorrt_slots
from lwseg_ros.backends.base import Slot, SlottedBackend
from lwseg_ros.backends.onnxruntime import OnnxRuntimeBackend
from lwseg_ros.backends.tensorrt import TensorRtBackend
from lwseg_ros.errors import BackendError, BackendLostError
from lwseg_ros.model.model_file import ModelFile

Open = Callable[..., TensorRtBackend]


@pytest.fixture
def opened(gpu: FakeGpu, tiny_model: ModelFile, tmp_path: Path) -> Iterator[Open]:
    backends: list[TensorRtBackend] = []

    def begin(**options: Any) -> TensorRtBackend:
        backends.append(TensorRtBackend(tiny_model, BackendOptions(max_batch=3, cache_dir=tmp_path, **options)))
        gpu.cuda.journal.clear()
        return backends[-1]

    yield begin
    for backend in backends:
        backend.close()


@pytest.fixture(scope="module")
def expected(tiny_model: ModelFile, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return OnnxRuntimeBackend(tiny_model, BackendOptions(max_batch=3)).infer(images)


def submitted(backend: TensorRtBackend, images: np.ndarray) -> Slot:
    slot = backend.acquire()
    slot.images[: len(images)] = images
    slot.submit(len(images))
    return slot


def test_it_is_a_slotted_backend(opened: Open) -> None:
    assert isinstance(opened(), SlottedBackend)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_frame_is_one_copy_in_one_run_one_copy_out_and_nothing_new(
    gpu: FakeGpu, opened: Open, images: np.ndarray, expected: tuple[np.ndarray, np.ndarray], count: int
) -> None:
    backend = opened()
    objects = gpu.cuda.live_objects()
    label, uncertainty = backend.infer(images[:count])
    np.testing.assert_array_equal(label, expected[0][:count])
    np.testing.assert_array_equal(uncertainty, expected[1][:count])
    assert [what for _, what in gpu.ran()] == ["upload", "run", "download"]
    assert gpu.cuda.live_objects() == objects


def test_a_captured_slot_is_one_launch(gpu: FakeGpu, opened: Open, images: np.ndarray) -> None:
    def launches(backend: TensorRtBackend) -> list[str]:
        gpu.cuda.journal.clear()
        backend.infer(images[:1])
        return [what for event, _, what in gpu.cuda.journal if event == "queued"]

    step_by_step = ["upload", "run", "download"]
    backend = opened()
    captures_itself = bool(gpu.rtx.configs)
    assert launches(backend) == (step_by_step if captures_itself else ["graph"])
    assert launches(opened(cuda_graphs=False)) == step_by_step


def test_what_cannot_be_captured_is_launched_step_by_step(
    gpu: FakeGpu,
    opened: Open,
    images: np.ndarray,
    expected: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(gpu.cuda, "cudaGraphInstantiate", lambda *_: (gpu.cuda.cudaError_t.cudaErrorInvalidValue, None))
    backend = opened()
    if not gpu.rtx.configs:
        assert (
            "no CUDA graph for a batch of 1, it is launched step by step: CUDA failed: cudaErrorInvalid" in caplog.text
        )
    np.testing.assert_array_equal(backend.infer(images)[0], expected[0])
    assert [what for event, _, what in gpu.cuda.journal if event == "queued"] == ["upload", "run", "download"]


def test_two_batches_are_under_way_at_once(
    gpu: FakeGpu, opened: Open, images: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    backend = opened()
    first, second = submitted(backend, images[:1]), submitted(backend, images[1:])
    assert gpu.ran() == [], "submitting waited"
    second_label, second_uncertainty, engine_ms = second.collect()
    assert len({stream for stream, _ in gpu.ran()}) == 1, "the first batch was waited for as well"
    np.testing.assert_array_equal(second_label, expected[0][1:])
    np.testing.assert_array_equal(first.collect()[0], expected[0][:1])
    np.testing.assert_array_equal(second_uncertainty, expected[1][1:])
    assert engine_ms > 0


def test_results_are_the_slots_memory_until_it_is_released(opened: Open, images: np.ndarray) -> None:
    backend = opened()
    first = submitted(backend, images[:1])
    label = first.collect()[0]
    other = submitted(backend, images[1:2])
    kept = label.copy()
    other.collect()
    np.testing.assert_array_equal(label, kept)
    first.release()
    again = submitted(backend, images[2:])
    assert again is first
    assert np.shares_memory(again.collect()[0], label)


def test_there_are_as_many_slots_as_said(opened: Open, images: np.ndarray) -> None:
    backend = opened()
    slots = [backend.acquire() for _ in range(backend.num_slots)]
    with pytest.raises(BackendError, match="all 2 slots of the tensorrt backend are in use; release one"):
        backend.acquire()
    with pytest.raises(BackendError, match="are in use"):
        backend.infer(images)
    slots[0].release()
    slots[0].release()
    assert backend.infer(images)[0].any()
    assert backend.acquire() is slots[0]
    with pytest.raises(BackendError, match="are in use"):
        backend.acquire()


def test_nothing_to_collect(opened: Open, images: np.ndarray) -> None:
    slot = submitted(opened(), images)
    slot.collect()
    with pytest.raises(BackendError, match="nothing was submitted"):
        slot.collect()


def test_a_launch_that_is_refused_in_one_slot_leaves_the_other_right(
    gpu: FakeGpu, opened: Open, images: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    backend = opened(cuda_graphs=False)
    backend.infer(images)
    second = submitted(backend, images[::-1].copy())
    first = backend.acquire()
    first.images[:] = images
    gpu.tensorrt.refuse_launches.append("no kernel fits")
    with pytest.raises(BackendError, match=r"tensorrt\w* [\d.]+ failed: no kernel fits$"):
        first.submit(3)
    with pytest.raises(BackendError, match="nothing was submitted"):  # and no labels of the batch before
        first.collect()
    first.release()
    np.testing.assert_array_equal(second.collect()[0], expected[0][::-1])
    np.testing.assert_array_equal(backend.infer(images)[0], expected[0])


def test_a_kernel_that_fails_in_one_slot_leaves_the_other_right(
    gpu: FakeGpu, opened: Open, images: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    backend = opened()
    first, second = submitted(backend, images), submitted(backend, images[::-1].copy())
    gpu.cuda.fail_kernel(701)
    with pytest.raises(BackendError, match="CUDA failed: cudaErrorLaunchOutOfResources, code 701") as failure:
        first.collect()
    assert not isinstance(failure.value, BackendLostError)
    first.release()
    np.testing.assert_array_equal(second.collect()[0], expected[0][::-1])
    second.release()
    np.testing.assert_array_equal(backend.infer(images)[0], expected[0])


@pytest.mark.parametrize("code", [214, 700, 716, 719])
def test_a_lost_device_gives_no_labels_in_any_slot(gpu: FakeGpu, opened: Open, images: np.ndarray, code: int) -> None:
    backend = opened()
    backend.infer(images)
    first, second = submitted(backend, images), submitted(backend, images)
    gpu.cuda.fail_kernel(code)
    for slot in (first, second):
        with pytest.raises(BackendLostError, match=rf"code {code}; only a new process can use the device again"):
            slot.collect()
        slot.release()
    with pytest.raises(BackendLostError):
        backend.infer(images)
    backend.close()
    with pytest.raises(BackendError, match="the tensorrt backend is closed"):
        backend.acquire()


def test_closing_waits_for_what_runs_and_leaves_nothing(gpu: FakeGpu, opened: Open, images: np.ndarray) -> None:
    backend, other = opened(), opened()
    slot = submitted(backend, images)
    backend.close()
    slot.release()
    with pytest.raises(BackendError, match="is closed"):
        backend.acquire()
    assert other.infer(images)[0].any()
    other.close()
    assert gpu.cuda.live_objects() == (0, 0)


def test_a_backend_that_is_forgotten_is_freed(
    gpu: FakeGpu, tiny_model: ModelFile, tmp_path: Path, images: np.ndarray
) -> None:
    TensorRtBackend(tiny_model, BackendOptions(max_batch=3, cache_dir=tmp_path)).infer(images)
    assert gpu.cuda.live_objects() == (0, 0)


def test_two_threads_and_the_second_device(
    opened: Open, images: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    """The current device belongs to the thread; each begins with the first."""
    backends = [opened(device_id=0), opened(device_id=1)]
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        for _ in range(5):
            results[index] = backends[index].infer(images)[0]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(2):
        np.testing.assert_array_equal(results[index], expected[0])


def test_an_integrated_gpu_copies_nothing(
    gpu: FakeGpu, opened: Open, images: np.ndarray, expected: tuple[np.ndarray, np.ndarray]
) -> None:
    gpu.cuda.properties.integrated = 1
    backend = opened()
    label, uncertainty = backend.infer(images)
    np.testing.assert_array_equal(label, expected[0])
    np.testing.assert_array_equal(uncertainty, expected[1])
    assert [what for _, what in gpu.ran()] == ["run"]
    backend.close()
    assert gpu.cuda.live_objects() == (0, 0)


@pytest.mark.parametrize(
    "call", ["cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags"]
)
@pytest.mark.parametrize("times", [0, 1])
def test_an_opening_that_fails_halfway_leaves_nothing(
    gpu: FakeGpu, opened: Open, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, call: str, times: int
) -> None:
    works, calls = getattr(gpu.cuda, call), iter(range(100))

    def fail_later(*arguments: Any) -> Any:
        if next(calls) < times:
            return works(*arguments)
        return gpu.cuda.cudaError_t.cudaErrorMemoryAllocation, None

    monkeypatch.setattr(gpu.cuda, call, fail_later)
    with pytest.raises(BackendError, match="CUDA failed: cudaErrorMemoryAllocation, code 2"):
        opened()
    assert gpu.cuda.live_objects() == (0, 0)
    monkeypatch.undo()
    assert opened().infer(images)[0].any()


def test_an_address_that_tensorrt_does_not_take(
    gpu: FakeGpu, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tensorrt_slots, "_aligned", lambda size: size + 1)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(BackendError, match=r"'uncertainty': .*not aligned to 256 bytes"),
    ):
        opened()
    assert gpu.cuda.live_objects() == (0, 0)


def test_memory_that_is_gone_is_a_lost_device_and_no_label(gpu: FakeGpu, opened: Open, images: np.ndarray) -> None:
    backend = opened()
    slot: Any = submitted(backend, images)
    gpu.cuda._allocations.pop(slot._output.device_pointer)
    with pytest.raises(BackendLostError, match="cudaErrorIllegalAddress, code 700"):
        slot.collect()
