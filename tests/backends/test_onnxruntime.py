"""What ONNX Runtime does besides inference; inference is in `test_contract.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lwseg_ros.model.model_file import ModelFile


def test_it_reports_nothing_and_leaves_no_session_file(tmp_path: Path, tiny_model: ModelFile) -> None:
    code = "import sys; from lwseg_ros.segmenter import Segmenter; Segmenter.open(sys.argv[1], 'onnxruntime').close()"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", code, str(tiny_model.path)]
    subprocess.run(command, env={**environment, "TMPDIR": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())
