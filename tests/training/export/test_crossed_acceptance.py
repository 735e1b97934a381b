"""Each street against the others."""

from __future__ import annotations

import numpy as np
from lwseg_training.export.acceptance import ImageCounts
from lwseg_training.export.crossed_acceptance import check_on_each


def images(count: int, *, wrong: int, brightness: float) -> list[ImageCounts]:
    """Images of two classes: of 100 pixels of the second so many are wrong; the third is never predicted."""
    judged = np.zeros((3, 256, 2), np.int64)
    judged[0, 10] = (900, 0)
    judged[1, 40] = (100 - wrong, wrong)
    varied = np.linspace(brightness - 5, brightness + 5, count)
    return [ImageCounts(judged, judged.sum(axis=2), 1000, 20.0, float(value)) for value in varied]


STREETS = {
    "day": images(90, wrong=0, brightness=100.0),
    "town": images(90, wrong=0, brightness=104.0),
    "dusk": images(90, wrong=30, brightness=50.0),
}
NAMES = ["road", "car", "bus"]


def test_each_is_judged_by_what_the_others_give() -> None:
    checked = check_on_each(STREETS, NAMES, 0.1, 0.9)
    assert [*checked] == [*STREETS]
    dusk = checked["dusk"]
    assert (dusk["share"], dusk["error_rate"], dusk["not_met"]) == (1.0, 0.03, ["car"])
    assert dusk["per_class"]["car"] == {"share": 1.0, "error_rate": 0.3, "pixels": 9000, "met": False}
    assert dusk["per_class"]["bus"] == {"share": None, "error_rate": None, "pixels": 0, "met": None}
    # With dusk among those fitted on, 15 % of the cars are wrong, and none is accepted.
    assert checked["day"]["share"] == 0.9
    assert checked["day"]["not_met"] == []


def test_when_a_street_is_known_to_be_unlike_the_others() -> None:
    checked = check_on_each(STREETS, NAMES, 0.1, 0.9)
    assert (checked["dusk"]["windows"], checked["dusk"]["unusual_windows"]) == (81, 81)
    assert checked["dusk"]["first_unusual"] == 10
    assert (checked["day"]["unusual_windows"], checked["day"]["first_unusual"]) == (0, None)


def test_a_single_street_has_no_others() -> None:
    assert check_on_each({"day": STREETS["day"]}, NAMES, 0.1, 0.9) == {}
