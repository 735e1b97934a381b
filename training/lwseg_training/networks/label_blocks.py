"""One label for each block of pixels: less to do behind a light network's last layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lwseg_ros.errors import RecipeError
from lwseg_training.networks.lite_seg import LiteSeg


def check_label_step(network: nn.Module, step: int) -> None:
    """Raise RecipeError where a network cannot tell labels of blocks of so many by so many pixels."""
    if step > 1 and not isinstance(network, LiteSeg):
        raise RecipeError(
            f"inference.label_step={step} is of LiteSeg alone, not of a {type(network).__name__}; set it to 1"
        )
    if isinstance(network, LiteSeg) and step > 1 and step >= network.strides[0]:
        raise RecipeError(
            f"inference.label_step={step} has to be below the network's finest stride, {network.strides[0]}; choose a smaller one, "
            "or network.options.finest=8"
        )


class LabelBlocks(nn.Module):
    """Logits of a network once for each block of ``step`` x ``step`` pixels, repeated over it. For inference only.

    Upsampling logits to every pixel, and softmax and arg-max there, is 40 % of what a light network in int8 takes that tells the
    classes apart at an eighth of the image's size.

    Args:
        network: a LiteSeg, which takes the step beside the image; float32 [N, 3, H, W] to logits [N, C, H / step, W / step].
        step: see `check_label_step`.
    """

    def __init__(self, network: nn.Module, step: int) -> None:
        super().__init__()
        check_label_step(network, step)
        self.network = network
        self.step = step

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, C, H, W], alike within each block."""
        logits = self.of_blocks(image)
        return self.repeated(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])

    def of_blocks(self, image: Tensor) -> Tensor:
        """Map a normalised RGB image [N, 3, H, W] to logits [N, C, H / step, W / step]."""
        logits: Tensor = self.network(image, self.step)
        return logits

    def repeated(self, values: Tensor) -> Tensor:
        """Bring values [N, H / step, W / step] to [N, H, W]."""
        return F.interpolate(values[:, None], scale_factor=self.step, mode="nearest")[:, 0]
