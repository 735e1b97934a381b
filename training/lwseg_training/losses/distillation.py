"""Learning from another network's probabilities (Hinton et al., Distilling the Knowledge in a Neural Network, arXiv 1503.02531)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from lwseg_training.networks.layers import resize_bilinear


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the mean over pixels of KL(softmax(teacher / T) || softmax(student / T)), a scalar.

    Args:
        student: float logits [N, C, h, w].
        teacher: float logits [N, C, H, W]; without gradient.
        temperature: T > 0; the factor keeps the gradient's size whatever it is.
    """
    student = resize_bilinear(student, (teacher.shape[-2], teacher.shape[-1])).float()
    log_student = (student / temperature).log_softmax(dim=1)
    log_teacher = (teacher.float() / temperature).log_softmax(dim=1)
    pixels = log_teacher.numel() / log_teacher.shape[1]
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="sum", log_target=True) / pixels
