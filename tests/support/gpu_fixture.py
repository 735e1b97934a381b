"""The fake GPU inside this process: `with fake_gpu("tensorrt") as gpu: ...`; and which tests need more than that.

Its modules stand in the place of NVIDIA's for as long, freshly imported, so that nothing of another test is left in them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lwseg_ros.backends import BackendOptions, tensorrt, tensorrt_builder

FOLDER = Path(__file__).parent / "fake_gpu"
MODULES = ("cuda", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings", "tensorrt_rtx_libs")


@dataclass(frozen=True)
class FakeGpu:
    """cuda: `cuda.bindings.runtime`. tensorrt: the fake TensorRT, on which the other one stands; rtx: that one."""

    cuda: Any
    tensorrt: Any
    rtx: Any

    def ran(self) -> list[tuple[int, str]]:
        """Return what has run on the device, as (stream, what), in order."""
        return [(stream, what) for event, stream, what in self.cuda.journal if event == "run"]


@contextmanager
def fake_gpu(library: str) -> Iterator[FakeGpu]:
    """Put the fake GPU and one of the libraries, "tensorrt" or "tensorrt_rtx", in the place of what is installed."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] in MODULES]:
            patch.delitem(sys.modules, name)
        patch.syspath_prepend(str(FOLDER))
        patch.setattr(tensorrt_builder, "LIBRARIES", (library,))
        tensorrt_builder.load_library.cache_clear()
        try:
            yield FakeGpu(*map(importlib.import_module, ("cuda.bindings.runtime", "tensorrt", "tensorrt_rtx")))
        finally:
            tensorrt_builder.load_library.cache_clear()
            for name in [name for name in sys.modules if name.split(".")[0] in MODULES]:
                del sys.modules[name]


def skip_where_tensorrt_cannot_build() -> None:
    """Skip a test that builds an engine where no TensorRT is, or one that builds on its device only."""
    if tensorrt_builder.installed_library() is None:
        pytest.skip(tensorrt_builder.MISSING)
    if tensorrt_builder.load_library().needs_device_to_build and not tensorrt.probe(BackendOptions()).available:
        pytest.skip("tensorrt builds on its device only, and there is none")
