"""From camera bytes to what a network takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lwseg_training.networks.normalization import MEAN_RGB, STD_RGB, Normalize

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)


def test_fixed_scales_rgb_by_the_constants() -> None:
    normalised = Normalize()(torch.from_numpy(IMAGE))
    expected = (IMAGE[..., ::-1] / 255 - MEAN_RGB) / STD_RGB
    assert normalised.dtype == torch.float32
    np.testing.assert_allclose(normalised.numpy().transpose(0, 2, 3, 1), expected, atol=1e-5)


def test_per_image_takes_exposure_and_color_cast_out() -> None:
    normalize = Normalize("per_image")
    darker = (IMAGE * np.array([0.5, 0.25, 0.5]) + 8).astype(np.uint8)
    first, second = normalize(torch.from_numpy(IMAGE)), normalize(torch.from_numpy(darker))
    assert first.mean(dim=(2, 3)).abs().max() < 1e-5
    np.testing.assert_allclose(first.std(dim=(2, 3)).numpy(), 1, atol=0.05)
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=0.15)


def test_per_image_looks_at_each_image_alone_and_bears_a_black_one() -> None:
    normalize = Normalize("per_image")
    batch = np.concatenate([IMAGE[:1], np.zeros_like(IMAGE[:1])])
    together = normalize(torch.from_numpy(batch))
    assert torch.equal(together[:1], normalize(torch.from_numpy(IMAGE[:1])))
    assert not together[1].any()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="normalization 'batch' is none of"):
        Normalize("batch")  # type: ignore[arg-type]


@pytest.mark.parametrize("exposure", [0.5, 1.0])
def test_exposure_brings_each_images_channels_towards_one_mean(exposure: float) -> None:
    normalize = Normalize(exposure=exposure)
    darker = (IMAGE * np.array([0.5, 0.25, 0.75])).astype(np.uint8)
    batch = torch.from_numpy(np.concatenate([IMAGE, darker]))
    means = 255 * (normalize(batch).mean(dim=(2, 3)) * torch.tensor(STD_RGB) + torch.tensor(MEAN_RGB)).numpy()
    own = batch.float().mean(dim=(1, 2)).flip(1).numpy()
    np.testing.assert_allclose(means, own * (255 * np.array(MEAN_RGB) / (own + 1)) ** exposure, rtol=1e-4)
    if exposure == 1:
        np.testing.assert_allclose(means, np.broadcast_to(255 * np.array(MEAN_RGB), means.shape), rtol=0.05)


def test_exposure_looks_at_each_image_alone_and_bears_a_black_one() -> None:
    normalize = Normalize(exposure=1)
    batch = np.concatenate([IMAGE[:1], np.zeros_like(IMAGE[:1])])
    together = normalize(torch.from_numpy(batch))
    torch.testing.assert_close(together[:1], normalize(torch.from_numpy(IMAGE[:1])))
    assert torch.equal(together[1:], Normalize()(torch.from_numpy(batch[1:])))


def test_an_exposure_beyond_all_the_way_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exposure 1.5 is not in 0\.\.1"):
        Normalize(exposure=1.5)
