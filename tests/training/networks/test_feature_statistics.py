"""MixStyle and DSU: the statistics they leave, when they act, and that nothing of them stays in the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lwseg_training.config.recipe import FeatureStatisticsSection, parse_recipe
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import load_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.networks import build_network
from lwseg_training.networks.feature_statistics import disturb_by_uncertainty, hook_feature_statistics, mix_style
from support.camvid_miniature import miniature_recipe
from torch import Tensor, nn

from lwseg_ros.errors import RecipeError

SMALL = {"sir_blocks": 1, "dwr2_blocks": 1, "dwr3_blocks": 1}


def features_of(images: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Feature maps [images, 3, 16, 16] whose channels have means and deviations of their own."""
    random = torch.Generator().manual_seed(0)
    scale = torch.rand(images, 3, 1, 1, generator=random) + 0.5
    shift = 2 * torch.randn(images, 3, 1, 1, generator=random)
    return (scale * torch.randn(images, 3, 16, 16, generator=random) + shift).to(dtype)


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(dim=(2, 3)), features.std(dim=(2, 3), correction=0)


def normalised(features: Tensor) -> Tensor:
    mean, deviation = statistics(features)
    return (features - mean[..., None, None]) / deviation[..., None, None]


def test_mix_style_takes_statistics_between_those_of_two_images() -> None:
    features = features_of(2)
    (mean, deviation), swapped = statistics(features), 0
    for seed in range(20):
        torch.manual_seed(seed)
        mixed = mix_style(features, alpha=0.1)
        torch.testing.assert_close(normalised(mixed), normalised(features), atol=1e-4, rtol=1e-4)
        own_mean, own_deviation = statistics(mixed)
        # One share lambda an image, for all channels and both statistics.
        share = (own_mean - mean.flip(0)) / (mean - mean.flip(0))
        torch.testing.assert_close(share, share[:, :1].expand_as(share), atol=1e-3, rtol=1e-3)
        between = share[:, :1] * deviation + (1 - share[:, :1]) * deviation.flip(0)
        torch.testing.assert_close(own_deviation, between, atol=1e-3, rtol=1e-3)
        assert bool(((share > -1e-3) & (share < 1 + 1e-3)).all())
        swapped += int((share[:, 0] < 0.5).sum())
    assert 3 <= swapped <= 20, "half of the orders are the other image's, half of whose shares are small"


def test_a_mixed_share_follows_beta() -> None:
    features = torch.cat([torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)]).repeat(500, 1, 1, 1)
    torch.manual_seed(0)
    mean = mix_style(features, alpha=0.1).mean(dim=(1, 2, 3))
    moved = (mean - features[:, 0, 0, 0]).abs()  # 1 - lambda, where the other image is another one
    extreme = ((moved > 0.1) & (moved < 0.9)).float().mean()
    assert float(extreme) < 0.3, "Beta(0.1, 0.1) is near 0 or 1"
    assert 0.15 < float(moved.mean()) < 0.35, "a half of lambda's, a half of the orders"


def test_no_gradient_goes_through_the_statistics_of_mix_style() -> None:
    features = features_of(1).requires_grad_()  # alone, it is mixed with itself
    mixed = mix_style(features, alpha=0.1)
    torch.testing.assert_close(mixed, features)
    mixed.square().sum().backward()
    torch.testing.assert_close(features.grad, 2 * features.detach())


def test_dsu_draws_statistics_as_wide_as_they_vary_in_the_batch() -> None:
    features = features_of(6)
    mean, deviation = statistics(features)
    torch.manual_seed(0)
    drawn = [disturb_by_uncertainty(features) for _ in range(400)]
    torch.testing.assert_close(normalised(drawn[0]).abs(), normalised(features).abs(), atol=1e-3, rtol=1e-3)
    means = torch.stack([one.mean(dim=(2, 3)) for one in drawn])
    torch.testing.assert_close(means.mean(dim=0), mean, atol=0.4, rtol=0)
    spread = mean.std(dim=0, correction=0)
    torch.testing.assert_close(means.std(dim=0), spread.expand(6, 3), atol=0, rtol=0.15)
    gammas = torch.stack(
        [((one - one.mean((2, 3), keepdim=True)) * normalised(features)).mean((2, 3)) for one in drawn]
    )
    torch.testing.assert_close(gammas.std(dim=0), deviation.std(dim=0, correction=0).expand(6, 3), atol=0, rtol=0.15)


@pytest.mark.parametrize("kind", ["mixstyle", "dsu"])
def test_named_modules_are_disturbed_in_training_alone(kind: str) -> None:
    torch.manual_seed(0)
    network, untouched = (build_network("dwrseg_b", 4, **SMALL) for _ in range(2))
    untouched.load_state_dict(network.state_dict())
    settings = FeatureStatisticsSection(kind=kind, modules=("stem", "stage2"), probability=1.0)  # type: ignore[arg-type]
    hook_feature_statistics(network, settings)
    assert network.state_dict().keys() == untouched.state_dict().keys()
    image = torch.rand(4, 3, 32, 32) * torch.rand(4, 3, 1, 1)
    assert torch.equal(network.eval()(image), untouched.eval()(image))
    assert not torch.allclose(network.train()(image), untouched.train()(image), atol=1e-3)


def test_probability_is_that_of_a_batch() -> None:
    network = nn.Sequential(nn.Identity())
    hook_feature_statistics(network, FeatureStatisticsSection(kind="dsu", modules=("0",), probability=0.25))
    features = features_of(4, torch.bfloat16)
    torch.manual_seed(0)
    outputs = [network(features) for _ in range(400)]
    assert {output.dtype for output in outputs} == {torch.bfloat16}
    assert 0.18 < sum(not torch.equal(output, features) for output in outputs) / 400 < 0.32


def test_a_name_that_is_no_module_is_refused() -> None:
    settings = FeatureStatisticsSection(kind="dsu", modules=("stem", "stage9"))
    with pytest.raises(RecipeError, match=r"a DWRSeg has no module 'stage9'; its stages are stem, stage2, stage3,"):
        hook_feature_statistics(build_network("dwrseg_b", 4, **SMALL), settings)


def test_a_module_that_gives_several_maps_is_refused() -> None:
    network = build_network("lite_seg0", 4)
    hook_feature_statistics(network, FeatureStatisticsSection(kind="dsu", modules=("backbone",), probability=1.0))
    with pytest.raises(RecipeError, match=r"feature_statistics\.modules: backbone does not give one feature map"):
        network(torch.zeros(2, 3, 32, 32))


def test_a_run_differs_resumes_and_leaves_a_network_like_any_other(miniature: Path, tmp_path: Path) -> None:
    settings = {"kind": "dsu", "modules": ["stem", "stage2.0"], "probability": 1.0}
    process = Process(0, 1, torch.device("cpu"))
    for name, section in (("plain", None), ("once", settings), ("again", settings)):
        recipe = miniature_recipe(feature_statistics=section, schedule={"steps": 3})
        fit(SegmentationTask(parse_recipe(recipe), miniature, process), tmp_path / name)
    plain, once, again = (load_checkpoint(tmp_path / name / "last.pt")["ema"] for name in ("plain", "once", "again"))
    assert plain.keys() == once.keys()
    assert all(torch.equal(once[name], again[name]) for name in once), "what is drawn follows from the step"
    assert not torch.equal(plain["head.1.weight"], once["head.1.weight"])
