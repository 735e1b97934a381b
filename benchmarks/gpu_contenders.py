"""Who segments on a CUDA device: our backend, PyTorch eager and compiled, ONNX Runtime. Each from host memory to host memory.

A contender gives `engine_ms`, a batch on the device without copies; `latency_ms`, one batch after the other from uint8 images in
host memory to label and uncertainty there; `images_per_s`, host to host, with as much under way as it allows; or raises
LwsegError with what is missing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lwseg_training.export.inference_graph import InferenceGraph

from lwseg_ros.backends import BackendOptions, Slot, open_backend
from lwseg_ros.backends.tensorrt import TensorRtBackend
from lwseg_ros.backends.tensorrt_slots import TensorRtSlot
from lwseg_ros.errors import BackendError, BackendUnavailableError
from lwseg_ros.evaluation.percentiles import percentiles
from lwseg_ros.model.model_file import ModelFile

MIN_RUNS = 5
Figures = dict[str, Any]


def tensorrt(model: ModelFile, images: np.ndarray, seconds: float, device_id: int) -> Figures:
    """Measure our backend on images uint8 [N, H, W, 3]; raises BackendError."""
    choice = open_backend(model, "tensorrt", BackendOptions(max_batch=len(images), device_id=device_id))
    backend = choice.backend
    assert isinstance(backend, TensorRtBackend)
    try:
        under_way: deque[Slot] = deque()

        def submit() -> None:
            slot = backend.acquire()
            slot.images[: len(images)] = images
            slot.submit(len(images))
            under_way.append(slot)

        def finish() -> None:
            slot = under_way.popleft()
            slot.collect()
            slot.release()

        def one_by_one() -> None:
            submit()
            finish()

        def overlapping() -> None:
            submit()
            if len(under_way) == backend.num_slots:
                finish()

        latencies_ms = repeat(one_by_one, seconds)
        slot = backend.acquire()
        assert isinstance(slot, TensorRtSlot)
        runs = max(MIN_RUNS, int(1e3 * seconds / np.median(latencies_ms)))
        engine_ms = slot.engine_ms(len(images), runs)
        slot.release()
        rate = images_per_s(overlapping, len(images), seconds)
        while under_way:
            finish()
    finally:
        backend.close()
    return figures(engine_ms, latencies_ms, rate) | {
        "version": backend.library_version,
        "checked": choice.reason,
    }


def pytorch(graph: InferenceGraph, images: np.ndarray, seconds: float, device_id: int, *, compiled: bool) -> Figures:
    """Measure PyTorch, eager or compiled with CUDA graphs; TF32 is off. Raises BackendUnavailableError without CUDA."""
    if not torch.cuda.is_available():
        raise BackendUnavailableError(
            f"torch {torch.__version__} finds no CUDA device; install the torch of the driver's CUDA version"
        )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", device_id)
    network: Callable[..., Any] = graph.to(device)
    if compiled:
        network = torch.compile(network, mode="reduce-overhead")
    pinned = torch.from_numpy(images).pin_memory()

    @torch.inference_mode()
    def whole() -> None:
        label, uncertainty = network(pinned.to(device, non_blocking=True))
        label.cpu(), uncertainty.cpu()

    latencies_ms = repeat(whole, seconds)
    resident = pinned.to(device)
    runs = max(MIN_RUNS, int(1e3 * seconds / np.median(latencies_ms)))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.inference_mode():
        network(resident)
        begin.record()
        for _ in range(runs):
            network(resident)
        end.record()
    torch.cuda.synchronize(device)
    rate = images_per_s(whole, len(images), seconds)
    return figures(begin.elapsed_time(end) / runs, latencies_ms, rate) | {"version": torch.__version__}


def onnxruntime_cuda(model: ModelFile, images: np.ndarray, seconds: float, device_id: int) -> Figures:
    """Measure ONNX Runtime's CUDA provider, which copies by itself; raises BackendError, BackendUnavailableError."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(f"onnxruntime-gpu is not installed ({error})") from error
    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise BackendUnavailableError(
            f"onnxruntime {onnxruntime.__version__} has no {provider}; `pip install onnxruntime-gpu` in its place"
        )
    settings = {"device_id": device_id, "use_tf32": 0}
    session = onnxruntime.InferenceSession(model.data, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:
        raise BackendError(f"onnxruntime {onnxruntime.__version__} could not start its {provider}; see its warning")

    def whole() -> None:
        session.run(["label", "uncertainty"], {"image": images})

    latencies_ms = repeat(whole, seconds)
    rate = images_per_s(whole, len(images), seconds)
    return figures(None, latencies_ms, rate) | {"version": onnxruntime.__version__}


def peak_multiply_adds_per_s(precision: str, device_id: int, seconds: float = 1.0) -> float | None:
    """Return the highest rate of a large matrix product in a precision; None where PyTorch has no CUDA, and for int8."""
    dtype = {"fp32": torch.float32, "fp16": torch.float16}.get(precision)
    if dtype is None or not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = False
    side = 8192
    left, right = (torch.randn(side, side, device=f"cuda:{device_id}", dtype=dtype) for _ in range(2))

    def multiply() -> None:
        torch.mm(left, right)
        torch.cuda.synchronize(device_id)

    return side**3 / (min(repeat(multiply, seconds)) / 1e3)


def repeat(call: Callable[[], None], seconds: float) -> list[float]:
    """Call for a while, after a few calls that do not count; return the milliseconds of each."""
    for _ in range(MIN_RUNS):
        call()
    times_ms: list[float] = []
    end_s = time.perf_counter() + seconds
    while len(times_ms) < MIN_RUNS or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        call()
        times_ms.append((time.perf_counter() - began_s) * 1e3)
    return times_ms


def images_per_s(call: Callable[[], None], batch: int, seconds: float) -> float:
    """Call for a while; return how many images that are a second."""
    times_ms = repeat(call, seconds)
    return 1e3 * batch * len(times_ms) / sum(times_ms)


def figures(engine_ms: float | None, latencies_ms: list[float], rate: float) -> Figures:
    """Put a contender's figures together; engine_ms None: it cannot be told."""
    latency = percentiles(latencies_ms, (50, 99))
    return {
        "engine_ms": engine_ms and round(engine_ms, 4),
        "latency_ms": {rank: value and round(value, 4) for rank, value in latency.items()},
        "images_per_s": round(rate, 1),
    }
