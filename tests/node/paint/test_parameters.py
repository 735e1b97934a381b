"""The parameters of the node `paint`: defaults, texts, files and pages agree."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from lwseg_ros.node.launch_arguments import paint_remappings, parameter_values
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS, PaintSettings
from lwseg_ros.node.parameters import faults

ROOT = Path(__file__).parents[3]


def test_every_setting_is_a_parameter_and_its_default_is_valid() -> None:
    assert list(PAINT_PARAMETERS) == [field.name for field in fields(PaintSettings)]
    assert faults(vars(PaintSettings()), unconfigured=True, parameters=PAINT_PARAMETERS) == []


def test_the_shipped_file_has_every_parameter_with_its_default() -> None:
    text = (ROOT / "config" / "paint.params.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert PaintSettings().changed(values) == PaintSettings()
    assert set(values) == set(PAINT_PARAMETERS)


@pytest.mark.parametrize("name", PAINT_PARAMETERS)
def test_the_page_explains_every_parameter(name: str) -> None:
    page = (ROOT / "docs" / "painting.md").read_text(encoding="utf-8")
    parameter = PAINT_PARAMETERS[name]
    assert f"| `{name}` |" in page
    assert parameter.description in page


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("occlusion_angle_deg", -1.0, "occlusion_angle_deg is -1.0; accepted: 0 to 5"),
        ("unseen_points", "hide", "unseen_points is 'hide'; accepted: one of keep, drop"),
        ("rectified", "yes", "rectified is 'yes'; accepted: true or false"),
        ("cameras", ["a", "a"], "cameras is ['a', 'a']; accepted: every camera once"),
        ("max_wait_ms", True, "max_wait_ms is True; accepted: 0 to 10000"),
    ],
)
def test_faults(name: str, value: Any, fault: str) -> None:
    assert faults({name: value}, unconfigured=True, parameters=PAINT_PARAMETERS) == [fault]


def test_launch_arguments_become_parameters_and_remappings() -> None:
    texts = {"fixed_frame": "map", "max_wait_ms": "2e2", "rectified": "true", "cameras": "front,left", "autostart": ""}
    values = {"fixed_frame": "map", "max_wait_ms": 200.0, "rectified": True, "cameras": ["front", "left"]}
    assert parameter_values(texts, PAINT_PARAMETERS) == values
    pairs = dict(paint_remappings(["front", "left"], "/lidar/points", "/car/segment"))
    assert len(pairs) == 2 + 2 * 4
    assert pairs["points"] == "/lidar/points"
    assert pairs["label_info_json"] == "/car/segment/label_info_json"
    assert pairs["left/camera_info"] == "/car/segment/left/camera_info"
    assert dict(paint_remappings([], "", "/segment"))["label"] == "/segment/label"
    assert "points" not in dict(paint_remappings([], "", "/segment"))


def test_the_launch_files_name_topics_that_segment_publishes() -> None:
    published = re.findall(
        r"^\| `~/(\w+)`", (ROOT / "docs" / "node.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    for _, target in paint_remappings([""], "", "/segment"):
        assert target.removeprefix("/segment/") in published
