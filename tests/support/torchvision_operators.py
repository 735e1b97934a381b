"""Makes torchvision importable, which others' packages import, beside a PyTorch that it was not built for.

The wheels of the package index are built for CUDA's PyTorch. Beside the CPU's their operators do not load, and importing
torchvision ends in a RuntimeError as it looks for two of them. Nothing here needs them.
"""

from __future__ import annotations

import torch

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

try:
    import torchvision  # noqa: F401
except ImportError:  # it is not there, and nobody will miss its operators
    pass
except RuntimeError:
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", SCHEMA)
