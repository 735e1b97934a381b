"""A PyTorch module as an ONNX graph."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 18  # what TensorRT 10.3 (JetPack 6), OpenVINO 2024 and ONNX Runtime 1.16 all read


def onnx_graph(
    module: nn.Module,
    image: Tensor,
    outputs: Sequence[str],
    dynamic_shapes: tuple[Any, ...] | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Convert a module of one input, named ``image``, without a word of PyTorch's on the way.

    Args:
        module: in eval mode.
        image: an example of what it takes; sizes that ``dynamic_shapes`` does not name become constants.
        outputs: their names.
        dynamic_shapes: as `torch.export.export` takes them.
        opset: version of ONNX's operators.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        path = Path(folder) / "model.onnx"
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module,
            (image,),
            path,
            input_names=["image"],
            output_names=list(outputs),
            opset_version=opset,
            dynamo=True,
            dynamic_shapes=dynamic_shapes,
            external_data=False,
            verbose=False,
        )
        return onnx.load_model(path)
