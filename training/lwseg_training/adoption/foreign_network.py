"""A foreign graph as a network in PyTorch: ONNX Runtime computes it, and in an export one node stands for it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from lwseg_ros.errors import ModelFileError
from lwseg_training.adoption.foreign_graph import ForeignInput, ForeignOutput
from lwseg_training.adoption.splicing import DOMAIN
from lwseg_training.networks.layers import upsample_logits

ChannelOrder = Literal["rgb", "bgr"]
LEAST_PROBABILITY = 1e-12  # whose logarithm is taken of 0
LOG_ERRORS_ONLY = 3


class Preprocessing(nn.Module):
    """Turn uint8 BGR [N, H, W, 3] into what a network was trained on, float32 [N, 3, H, W].

    (pixel * largest / 255 - mean) / std, channel by channel.

    Args:
        mean, std: in the channel order of the network, in units of ``largest``.
        order: of the network's channels.
        largest: what a pixel of 255 is before ``mean`` is taken off, 1 or 255.
    """

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        order: ChannelOrder = "rgb",
        largest: int = 1,
    ) -> None:
        super().__init__()
        self.order = order
        self.mean: Tensor
        self.std: Tensor
        unit = 255 / largest
        self.register_buffer("mean", unit * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", unit * torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        # The cast comes first: TensorRT's parser takes uint8 only into a cast.
        channels = image.float().permute(0, 3, 1, 2)
        return ((channels.flip(1) if self.order == "rgb" else channels) - self.mean) / self.std


class ForeignSession:
    """A foreign graph in ONNX Runtime as its file has it, run on one image at a time."""

    def __init__(self, model: onnx.ModelProto, given: ForeignInput) -> None:
        """Open it; raises ModelFileError where ONNX Runtime cannot."""
        self._given = given
        options = onnxruntime.SessionOptions()
        options.log_severity_level = LOG_ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library's errors have no common base
            raise ModelFileError(f"ONNX Runtime cannot open it ({_first_line(error)}); export it again") from error

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return all outputs by name for a prepared image float [3, H, W]; raises ModelFileError where it fails."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, {self._given.name: self._given.feed(image)}), strict=True))
        except Exception as error:  # the library's errors have no common base
            raise ModelFileError(
                f"ONNX Runtime cannot run it on an image {list(self._given.shape)} ({_first_line(error)}); choose another --size, "
                "or export it again"
            ) from error


class ForeignNetwork(nn.Module):
    """Map float32 [N, 3, H, W] to what `output` says: logits float32 [N, C, H, W], those of probabilities being their logarithms,
    or labels float32 [N, H, W].

    Smaller logits are upsampled bilinearly, smaller labels are repeated.
    """

    def __init__(self, session: ForeignSession, given: ForeignInput, output: ForeignOutput) -> None:
        super().__init__()
        self._session, self._given, self._output = session, given, output

    def forward(self, image: Tensor) -> Tensor:
        size_hw = (image.shape[-2], image.shape[-1])
        raw = self._as_one_node(image) if torch.onnx.is_in_onnx_export() else self._run(image)
        values = raw.float()
        if self._output.values == "labels":
            labels = values if values.ndim == 3 else values.squeeze(1)
            down, across = (side // own for side, own in zip(size_hw, self._output.size_hw, strict=True))
            if (down, across) != (1, 1):
                labels = labels.repeat_interleave(down, dim=1).repeat_interleave(across, dim=2)
            return labels
        if self._output.channels_last:
            values = values.permute(0, 3, 1, 2)
        if self._output.values == "probabilities":
            # Added rather than clamped to, so that NaN stays NaN.
            values = (values + LEAST_PROBABILITY).log()
        return upsample_logits(values, size_hw)

    def _run(self, image: Tensor) -> Tensor:
        name = self._output.name
        return torch.cat([torch.from_numpy(self._session.run(one)[name]) for one in image.cpu().numpy()])

    def _as_one_node(self, image: Tensor) -> Tensor:
        given = image.to(_torch_dtype(onnx.helper.tensor_dtype_to_np_dtype(self._given.type)))
        if self._given.channels_last:
            given = given.permute(0, 2, 3, 1)
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::Network",
            (given,),
            dtype=_torch_dtype(self._output.dtype),
            shape=[image.shape[0], *self._output.shape[1:]],
            version=1,
        )


class LabelGraph(nn.Module):
    """What `InferenceGraph` is to logits for a network that gives labels: its uncertainty is 255 everywhere, as nothing is known.

    Args:
        network: float [N, 3, H, W] to labels float [N, H, W].
        normalize: uint8 BGR [N, H, W, 3] to the network's input.
        ignore_id: label of a pixel whose value is no class id, 0 to 254.
    """

    def __init__(self, network: nn.Module, normalize: nn.Module, ignore_id: int) -> None:
        super().__init__()
        self.network, self.normalize, self.ignore_id = network, normalize, ignore_id

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 BGR [N, H, W, 3] to label uint8 [N, H, W] and uncertainty uint8 [N, H, W]."""
        values = self.network(self.normalize(image))
        label = torch.where((values >= 0) & (values < 255), values, float(self.ignore_id))
        return label.to(torch.uint8), torch.full_like(label, 255.0).to(torch.uint8)


def _torch_dtype(dtype: np.dtype) -> torch.dtype:
    return torch.from_numpy(np.zeros(0, dtype)).dtype


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no reason given")
