"""Launch arguments' texts, and the launch files as far as they can be judged without the launch package."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from lwseg_ros.node.launch_arguments import (
    LaunchArgumentError,
    cameras_of_file,
    parameter_values,
    remappings,
    switch,
)
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS
from lwseg_ros.node.parameters import PARAMETERS

LAUNCH = Path(__file__).parents[2] / "launch"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model", "model.onnx", "model.onnx"),
        ("model", "123", "123"),
        ("cameras", "[front, left]", ["front", "left"]),
        ("cameras", "front,left", ["front", "left"]),
        ("cameras", "['front', 'left']", ["front", "left"]),
        ("cameras", '["front", "rear/left"]', ["front", "rear/left"]),
        ("cameras", " [ 'front' ] ", ["front"]),
        ("cameras", "- front\n- left", ["front", "left"]),
        ("cameras", "'front'", ["front"]),
        ("cameras", "'front, left'", ["front", "left"]),
        ("cameras", "front", ["front"]),
        ("cameras", "on", ["on"]),
        ("cameras", "[]", [""]),
        ("cameras", "['']", [""]),
        ("model", "'model.onnx'", "model.onnx"),
        ("model", '"/models/a b.onnx"', "/models/a b.onnx"),
        ("model", "/models/a #1: b.onnx", "/models/a #1: b.onnx"),
        ("model", "'half", "'half"),
        ("transport", "'compressed'", "compressed"),
        ("max_age_ms", "1e3", 1000.0),
        ("max_age_ms", "5.e+2", 500.0),
        ("overlay_alpha", "5E-1", 0.5),
        ("overlay_alpha", ".5", 0.5),
        ("num_threads", "0x10", 16),
        ("autostart", "TRUE", True),
        ("autostart", "off", False),
        ("max_age_ms", "200", 200.0),
        ("num_threads", "2", 2),
        ("autostart", "false", False),
        ("autostart", "False", False),
        ("max_rate_hz", "10", [10.0]),
        ("max_rate_hz", "15, 5", [15.0, 5.0]),
        ("max_rate_hz", "[15, 7.5]", [15.0, 7.5]),
        ("priorities", "1,0,0", [1, 0, 0]),
        ("priorities", "[]", [0]),
    ],
)
def test_texts_become_values(name: str, text: str, value: Any) -> None:
    values = parameter_values({name: text, "backend": ""})
    assert values == {name: value}
    assert type(values[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("num_threads", "many"),
        ("num_threads", "{"),
        ("max_age_ms", "-1"),
        ("backend", "abacus"),
        ("autostart", "2"),
        ("cameras", "a,a"),
        ("cameras", "['a', 'a']"),
        ("cameras", "[front, 2]"),
        ("cameras", "['front', ['left']]"),
        ("cameras", "{front: left}"),
        ("cameras", "[front, left"),
        ("cameras", "&a [front, *a]"),
        ("num_threads", "1e1"),
        ("num_threads", "2.0"),
        ("max_age_ms", "nan"),
        ("max_age_ms", "1e400"),
        ("max_age_ms", "1_000e0"),
        ("max_age_ms", "2024-99-99"),
        ("max_age_ms", "[1]"),
        ("max_age_ms", "true"),
        ("autostart", "'true'"),
        ("max_rate_hz", "fast"),
        ("max_rate_hz", "[5"),
        ("max_rate_hz", "{front: 5}"),
        ("priorities", "0.5,1"),
    ],
)
def test_wrong_texts_are_refused(name: str, text: str) -> None:
    with pytest.raises(LaunchArgumentError, match=rf"^{name} .*accepted: "):
        parameter_values({name: text})


def test_switches() -> None:
    assert [switch("use_sim_time", text) for text in ("true", "True", "on", "yes", " TRUE ")] == [True] * 5
    assert [switch("use_sim_time", text) for text in ("false", "False", "off", "no")] == [False] * 4
    for text in ("", "1", "ture", "[true]", "'true'", "{"):
        with pytest.raises(LaunchArgumentError, match=r"use_sim_time is .*; accepted: true or false"):
            switch("use_sim_time", text)


def test_remappings() -> None:
    assert remappings([], "", "") == []
    assert remappings([], "/camera/image_raw", "") == [
        ("image", "/camera/image_raw"),
        ("camera_info", "/camera/camera_info"),
    ]
    assert remappings([], "picture", "") == [("image", "picture"), ("camera_info", "camera_info")]
    assert remappings([], "/picture", "/info") == [("image", "/picture"), ("camera_info", "/info")]
    assert remappings(["front", "left"], "/sensing/{camera}/image", "") == [
        ("front/image", "/sensing/front/image"),
        ("front/camera_info", "/sensing/front/camera_info"),
        ("left/image", "/sensing/left/image"),
        ("left/camera_info", "/sensing/left/camera_info"),
    ]
    assert remappings(["front"], "/picture", "") == [("front/image", "/picture"), ("front/camera_info", "/camera_info")]
    assert remappings([""], "", "/info") == [("camera_info", "/info")]
    assert remappings(["front", "left"], "", "/{camera}/info") == [
        ("front/camera_info", "/front/info"),
        ("left/camera_info", "/left/info"),
    ]


@pytest.mark.parametrize(
    ("cameras", "image", "camera_info", "message"),
    [
        (["front", "left"], "/camera/image", "", r"image is '/camera/image' .*accepted: a topic with \{camera\} in it"),
        (["front", "left"], "/{camera}/image", "/info", r"camera_info is '/info' .*accepted: a topic with \{camera\}"),
        ([], "/{camera}/image", "", "no cameras are named; add cameras:="),
        ([""], "", "/{camera}/info", "no cameras are named; add cameras:="),
        ([], "/camera/image/compressed", "", "without /compressed, with transport:=compressed"),
    ],
)
def test_remappings_that_make_no_sense(cameras: list[str], image: str, camera_info: str, message: str) -> None:
    with pytest.raises(LaunchArgumentError, match=message):
        remappings(cameras, image, camera_info)


@pytest.mark.parametrize(
    ("text", "namespace", "cameras"),
    [
        ("/**: {ros__parameters: {cameras: [front, left]}}", "", ["front", "left"]),
        ("segment: {ros__parameters: {cameras: [rear]}}", "", ["rear"]),
        ("/car/segment: {ros__parameters: {cameras: [rear]}}", "/car", ["rear"]),
        ("/car: {segment: {ros__parameters: {cameras: [rear]}}}", "car", ["rear"]),
        ("/**: {ros__parameters: {backend: auto}}", "", []),
        ("detector: {ros__parameters: {cameras: [front]}}", "", []),
    ],
)
def test_cameras_of_a_parameters_file(text: str, namespace: str, cameras: list[str], tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text)
    assert cameras_of_file(str(tmp_path / "params.yaml"), "segment", namespace) == cameras


def test_the_shipped_parameters_file_names_no_camera() -> None:
    assert cameras_of_file(str(LAUNCH.parent / "config" / "segment.params.yaml"), "segment", "") == [""]


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{", "- 1", "/**: 3", "[" * 50_000, "/**: &a {ros__parameters: *a}", "/**: 2024-99-99", "\0"),
        *("/**: {ros__parameters: ab}", "/**: {ros__parameters: [[a, b, c]]}", "/**: {ros__parameters: null}"),
        *("/**: {ros__parameters: {sizes: [99999999999999999999]}}", "/**: {ros__parameters: {5: 3}}"),
    ],
)
def test_what_is_no_parameters_file(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(
        LaunchArgumentError, match=r"params_file is '.*params\.yaml', which is no ROS parameters file: "
    ):
        cameras_of_file(str(tmp_path / "params.yaml"), "segment", "")


def calls(tree: ast.AST, *names: str) -> set[str]:
    """The texts that are the first argument of calls of some functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                found.add(argument.value)
    return found


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.py")), ids=lambda path: path.name)
def test_launch_files_use_only_arguments_that_they_declare(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    compile(tree, str(path), "exec")
    declared = calls(tree, "DeclareLaunchArgument")
    if path.name == "segment.launch.py":
        declared |= set(PARAMETERS)  # declared in a loop over the table
    if path.name == "paint.launch.py":
        declared |= set(PAINT_PARAMETERS)
    used = calls(tree, "LaunchConfiguration", "text")
    assert used
    assert used <= declared


def test_replay_passes_on_only_what_segment_declares() -> None:
    segment = ast.parse((LAUNCH / "segment.launch.py").read_text(encoding="utf-8"))
    replay = ast.parse((LAUNCH / "replay.launch.py").read_text(encoding="utf-8"))
    passed_on: set[str] = {"use_sim_time"}
    for node in ast.walk(replay):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "passed_on":
            passed_on |= set(ast.literal_eval(node.value))
    assert len(passed_on) > 1
    assert passed_on <= calls(segment, "DeclareLaunchArgument") | set(PARAMETERS)
