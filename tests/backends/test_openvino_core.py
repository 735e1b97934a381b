"""One Core a process: signals find the stack that they are handled on, whatever was opened and closed before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.model.model_file import ModelFile

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install lwseg_ros[cpu]")

# On a processor with AMX a Core of each backend's own ends this by SIGSEGV.
PROGRAM = """
import gc, os, signal, sys
from lwseg_ros.backends import BackendOptions, load_runtime
from lwseg_ros.model.model_file import load_model
model = load_model(sys.argv[1])
backends = [load_runtime("openvino").open(model, BackendOptions(num_threads=1)) for _ in range(3)]
while backends:
    backends.pop(0).close()
    gc.collect()
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append("SIGTERM"))
os.kill(os.getpid(), signal.SIGTERM)
print(*told)
"""


def test_a_signal_is_handled_after_backends_were_closed_in_any_order(tiny_model: ModelFile) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tiny_model.path], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "SIGTERM\n"), done.stderr


def test_there_is_one() -> None:
    assert shared_core() is shared_core()
