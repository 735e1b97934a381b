"""Counts to the digit, as README.md and the tables of networks show them."""

from __future__ import annotations

import pytest
from lwseg_training.networks import build_network
from lwseg_training.networks.count import NetworkCount, count_network

# At 360 x 480 and 11 classes, as fvcore 0.1.5 counts them without resizing to the input's size.
CAMVID = {
    "dwrseg_b": NetworkCount(2_557_003, 4_477_879_680),
    "dwrseg_l": NetworkCount(3_553_035, 5_412_718_080),
    "pmsdsen": NetworkCount(921_405, 3_859_121_696),
    "lemore": NetworkCount(1_592_411, 500_950_384),
    "deeplabv3plus_r50": NetworkCount(40_349_611, 46_269_583_360),
    "synergy": NetworkCount(2_557_003, 5_625_270_912),
}


@pytest.mark.parametrize("name", CAMVID)
def test_counts_are_those_of_fvcore(name: str) -> None:
    assert count_network(build_network(name, 11), (360, 480)) == CAMVID[name]
