"""Run the node with `faulty_backend` in the place of ONNX Runtime: `python tests/support/faulty_node.py --ros-args ...`."""

from __future__ import annotations

import sys

from lwseg_ros.backends import BACKENDS
from lwseg_ros.node.__main__ import main

BACKENDS["onnxruntime"] = "faulty_backend"  # beside this file, which is where a script's imports are looked for first
sys.exit(main())
