"""The parameter table: validation, and that the configuration file and documentation agree with it."""

from __future__ import annotations

from array import array
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lwseg_ros.node.parameters import PARAMETERS, Settings, faults, help_text

ROOT = Path(__file__).parents[2]


def test_every_setting_is_described_and_its_default_accepted() -> None:
    assert list(PARAMETERS) == [field.name for field in fields(Settings)]
    assert faults(vars(Settings()), unconfigured=True) == []
    for parameter in PARAMETERS.values():
        assert parameter.description.endswith(".")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("backend", "abacus", "backend is 'abacus'; accepted: one of auto, tensorrt, openvino, onnxruntime"),
        ("transport", 1, "transport is 1; accepted: one of raw, compressed"),
        ("max_age_ms", -0.1, "max_age_ms is -0.1; accepted: 0 to 60000"),
        ("max_age_ms", float("nan"), "max_age_ms is nan"),
        ("max_age_ms", True, "max_age_ms is True"),
        ("max_age_ms", None, "max_age_ms is None"),
        ("max_age_ms", 200, None),
        ("overlay_alpha", 1, None),
        ("num_threads", 1.5, "num_threads is 1.5; accepted: 0 to 256"),
        ("num_threads", 4, None),
        ("autostart", 1, "autostart is 1; accepted: true or false"),
        ("cameras", [], None),
        ("cameras", [""], None),
        ("cameras", ["front", "rear/left"], None),
        ("cameras", ["front", "front"], "every camera once"),
        ("cameras", ["front", ""], "cameras holds ''"),
        ("cameras", ["2nd"], "cameras holds '2nd'"),
        ("cameras", ["/front"], "cameras holds '/front'"),
        ("cameras", "front", "cameras is 'front'; accepted: a list of camera names"),
        ("max_rate_hz", 10, None),
        ("max_rate_hz", array("d", [10.0, 0.5]), None),
        ("max_rate_hz", [], None),
        (
            "max_rate_hz",
            [10.0, -1.0],
            "max_rate_hz is [10.0, -1.0]; accepted: 0 to 1000; one for all cameras, or one for each",
        ),
        ("max_rate_hz", array("d", [float("nan")]), "max_rate_hz is [nan]"),
        ("max_rate_hz", [True], "max_rate_hz is [True]"),
        ("max_rate_hz", "fast", "max_rate_hz is ['fast']"),
        ("max_rate_hz", None, "max_rate_hz is [None]"),
        ("priorities", array("q", [2, 0]), None),
        ("priorities", [1.5], "priorities is [1.5]; accepted: 0 to 100"),
        ("use_sim_time", 7, None),  # not ours to judge
    ],
)
def test_faults(name: str, value: Any, fault: str | None) -> None:
    found = faults({name: value}, unconfigured=True)
    assert found == [] if fault is None else fault in found[0]


def test_some_change_only_while_unconfigured() -> None:
    change = {"model": "other.onnx", "max_age_ms": 5.0}
    assert faults(change, unconfigured=True) == []
    (fault,) = faults(change, unconfigured=False)
    assert fault.startswith("model can change only while the node is unconfigured")


def test_values_take_the_type_of_the_default() -> None:
    settings = Settings().changed({"max_age_ms": 200, "cameras": ["front"], "use_sim_time": True})
    assert settings == Settings(max_age_ms=200.0, cameras=("front",))
    assert isinstance(settings.max_age_ms, float)
    assert Settings().changed({"cameras": []}).cameras == ("",)
    for value in (10, [10], array("d", [10.0])):
        limited = Settings().changed({"max_rate_hz": value, "priorities": []})
        assert limited == Settings(max_rate_hz=(10.0,))
        assert isinstance(limited.max_rate_hz[0], float)


def test_what_cameras_have_of_their_own() -> None:
    both = Settings(cameras=("front", "rear"))
    each = replace(both, max_rate_hz=(0.0, 5.0), priorities=(1,))
    assert each.disagreements() == []
    assert [each.max_rate_hz_of(camera) for camera in each.cameras] == [0.0, 5.0]
    assert [each.priority_of(camera) for camera in each.cameras] == [1, 1]
    assert replace(both, max_rate_hz=(1.0, 2.0, 3.0), priorities=(1, 2, 3)).disagreements() == [
        "max_rate_hz is [1.0, 2.0, 3.0] for the cameras front, rear; accepted: one for all, or one for each",
        "priorities is [1, 2, 3] for the cameras front, rear; accepted: one for all, or one for each",
    ]
    (fault,) = Settings(priorities=(1, 2)).disagreements()
    assert fault == "priorities is [1, 2] for one camera; accepted: one for all, or one for each"


def test_the_parameters_file_lists_every_parameter_with_its_default() -> None:
    document = yaml.safe_load((ROOT / "config" / "segment.params.yaml").read_text(encoding="utf-8"))
    values = document["/**"]["ros__parameters"]
    assert Settings().changed(values) == Settings()
    assert set(values) == set(PARAMETERS)


def test_help_lists_every_parameter() -> None:
    for name, parameter in PARAMETERS.items():
        assert f"  {name} (default" in help_text()
        assert parameter.description in help_text()


def test_the_documentation_tells_when_each_parameter_may_change() -> None:
    text = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
    rows = {"any time": "at any time", "unconfigured": "while unconfigured", "at start": "at start"}
    for change, row in rows.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
        documented = set(line.split("|")[2].replace("`", "").replace(",", " ").split())
        assert documented == {name for name, parameter in PARAMETERS.items() if parameter.change == change}
