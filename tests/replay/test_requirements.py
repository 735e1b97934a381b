"""What is asked of the figures, and whether they meet it."""

from __future__ import annotations

import re

import pytest

from lwseg_ros.replay.requirements import RequirementError, check, judge, parse, verdict

FIGURES = {
    "miou": 0.6,
    "pixel_accuracy": None,
    "rate_hz": float("nan"),
    "per_class_iou": {"pedestrian": 0.5, "traffic light": 0.25, "a.b": 0.125},
    "frames": {"published": 200, "segmented": 197, "dropped": 3, "bad": 0},
    "truth": {"messages": 100, "matched": 90, "judged": 80, "unmatched": 10},
    "latency_ms": {"p99": 80.0},
    "uncertainty": {"ece": 0.03},
    "intervals": {"miou": [0.55, 0.65], "per_class_iou": {"pedestrian": None}},
    "against": {"differences": {"miou": {"difference": -0.01, "low": -0.03, "high": 0.01}}},
}


@pytest.mark.parametrize(
    ("text", "met", "said"),
    [
        ("miou>=0.6", True, "0.6000 is >= 0.6000"),
        ("miou>0.6", False, "0.6000 is not > 0.6000"),
        (" miou >= 60 % ", True, "0.6000 is >= 0.6000"),
        ("iou.pedestrian>=0.5", True, "0.5000 is >= 0.5000"),
        ("per_class_iou.traffic light<0.25", False, "0.2500 is not < 0.2500"),
        ("iou.a.b<=0.125", True, "0.1250 is <= 0.1250"),
        ("miou>=0.60001", False, "0.6 is not >= 0.60001"),
        ("dropped<=1%", False, "1.5 % is not <= 1 %"),
        ("dropped<=3", True, "3 is <= 3"),
        ("judged>=40%", True, "40 % is >= 40 %"),  # of the 200 published
        ("unmatched<=10%", True, "10 % is <= 10 %"),  # of the 100 messages
        ("latency.p99<=80", True, "80 ms is <= 80 ms"),
        ("latency_ms.p99<80", False, "80 ms is not < 80 ms"),
        ("ece<=3e-2", True, "0.0300 is <= 0.0300"),
        ("intervals.miou.low>=0.5", True, "0.5500 is >= 0.5000"),
        ("against.differences.miou.low>=-0.02", False, "-0.0300 is not >= -0.0200"),
        ("pixel_accuracy>=0", False, "not measured, so it is not known to be >= 0.0000"),
        ("rate<=100", False, "not measured, so it is not known to be <= 100"),
        ("latency.p50<=80", False, "not measured, so it is not known to be <= 80 ms"),
        ("intervals.per_class_iou.pedestrian.high<1", False, "not measured, so it is not known to be < 1.0000"),
        ("accepted>=0.5", False, "not measured, so it is not known to be >= 0.5000"),
    ],
)
def test_figures_against_bounds(text: str, met: bool, said: str) -> None:
    (outcome,) = judge([parse(text)], FIGURES)
    assert (outcome.met, outcome.said) == (met, said)
    assert outcome.as_json()["requirement"] == text.strip()


def test_a_share_of_nothing_is_not_measured() -> None:
    assert judge([parse("dropped<=1%")], {"frames": {"published": 0, "dropped": 0}})[0].value is None


def test_a_percentage_is_the_share_that_it_says() -> None:
    figures = {"frames": {"published": 1000, "dropped": 7}}  # 0.7 / 100 is below 7 / 1000
    met = [judge([parse(f"dropped{compare}0.7%")], figures)[0].met for compare in ("<=", ">=", "<", ">")]
    assert met == [True, True, False, False]


@pytest.mark.parametrize("text", ["unmatched<=0", "ambiguous<1", "judged<=5", "truth.pixels<=10"])
def test_without_ground_truth_its_counts_meet_nothing(text: str) -> None:
    counts = dict.fromkeys(("messages", "matched", "judged", "unmatched", "ambiguous", "pixels"), 0)
    for topic, met in ((None, False), ("/cam/label", True)):
        (outcome,) = judge([parse(text)], {"truth": {"topic": topic, **counts}})
        assert (outcome.met, outcome.value) == (met, 0 if met else None)


def test_one_that_is_not_met_decides() -> None:
    assert verdict([]) is None
    assert verdict(judge([parse("miou>=0.5"), parse("dropped<=3")], FIGURES)) == "met"
    assert verdict(judge([parse("miou>=0.5"), parse("dropped<3")], FIGURES)) == "not met"


def test_a_part_meets_nothing() -> None:
    outcomes = judge([parse("miou>=0.5"), parse("latency.p99<=80")], FIGURES | {"partial": True})
    assert verdict(outcomes) == "not met"
    assert re.fullmatch(r"0\.\d+, but the replay is partial, so it is not known to be >= 0\.5000", outcomes[0].said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("miuo>=0.6", r"no figure is called 'miuo' in 'miuo>=0.6'; there are, for one, miou"),
        ("latency.p98<=80", r"no figure is called 'latency.p98'"),
        ("iou>=0.6", r"no figure is called 'iou'"),
        ("miou", r"'miou' is no requirement; write a figure"),
        ("miou==0.6", r"is no requirement"),
        ("miou>=0.6.1", r"is no requirement"),
        ("miou>=high", r"is no requirement"),
        ("miou>=nan", r"is no requirement"),
        ("rate>=1e999", r"is no requirement"),
        ("latency.p99<=1e9999999", r"is no requirement"),
        ("dropped<=1e9999999%", r"is no requirement"),
        ("ece<=5", r"'ece<=5': uncertainty.ece is a share, 0 to 1 or 0 % to 100 %"),
        ("miou>=60", r"is a share, 0 to 1"),
        ("miou>=-0.1", r"is a share, 0 to 1"),
        ("dropped<=500%", r"frames.dropped is a share, 0 to 1"),
        ("dropped>=-1", r"frames.dropped is at least 0"),
        ("against.differences.miou.low>=-2", r"is a share, -1 to 1 or -100 % to 100 %"),
        ("latency.p99<=80%", r"'latency.p99<=80%': latency_ms.p99 is no share and no count of frames"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(RequirementError, match=message):
        parse(text)


def test_what_there_is_nothing_of_is_refused_before_anything_runs() -> None:
    classes = ["road", "car"]
    fine = ["miou>=0.6", "iou.car>=0.5", "intervals.per_class_iou.car.low>=0", "accepted.per_class.car.error_rate<=2%"]
    check([parse(text) for text in fine], classes, is_compared=False)
    for text in ("iou.cra>=0.5", "against.differences.per_class_iou.cra.low>=0"):
        message = re.escape(f"the model has no class 'cra', which {text!r} is about; it has road, car")
        with pytest.raises(RequirementError, match=message):
            check([parse(text)], classes)
    with pytest.raises(RequirementError, match=r"is about a comparison; name the other run with --against"):
        check([parse("against.differences.miou.low>=0")], classes, is_compared=False)
