"""Run the node with faulty runtimes on the CPU, and a faulty decoder: `python tests/support/faulty_node.py --ros-args ...`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from faulty_backend import fault, hang  # beside this file, which is where a script's imports are looked for first

from lwseg_ros.backends import BACKENDS
from lwseg_ros.imaging import messages
from lwseg_ros.node.__main__ import main

to_bgr = messages.to_bgr


def faulty_to_bgr(message: Any) -> np.ndarray:
    if fault() == "decoding hangs":
        hang(3600)
    return to_bgr(message)


messages.to_bgr = faulty_to_bgr
BACKENDS |= {"onnxruntime": "faulty_backend", "openvino": "faulty_openvino"}
sys.exit(main())
