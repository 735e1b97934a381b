"""Launch arguments' texts, and the launch files as far as they can be judged without the launch package."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from lwseg_ros.node.launch_arguments import (
    LaunchArgumentError,
    cameras_of_file,
    given_switch,
    parameter_values,
    remappings,
    rviz_remappings,
    segment_and_paint_arguments,
    sim_time_of_file,
    switch,
)
from lwseg_ros.node.paint.parameters import PAINT_PARAMETERS, PaintSettings
from lwseg_ros.node.parameters import PARAMETERS, Settings

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


def test_a_switch_that_is_not_given_is_left_to_the_parameters_file() -> None:
    assert given_switch("use_sim_time", "") == {}
    assert given_switch("use_sim_time", "off") == {"use_sim_time": False}
    with pytest.raises(LaunchArgumentError, match="use_sim_time is 'ture'"):
        given_switch("use_sim_time", "ture")
    source = ast.parse((LAUNCH.parent / "lwseg_ros" / "node" / "launch_parts.py").read_text(encoding="utf-8"))
    defaults = [
        {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}["default_value"]
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and node.args and getattr(node.args[0], "value", None) == "use_sim_time"
        if getattr(node.func, "id", "") == "DeclareLaunchArgument"
    ]
    assert defaults == [""]


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


@pytest.mark.parametrize(
    ("text", "is_simulated"),
    [
        ("/**: {ros__parameters: {use_sim_time: true}}", True),
        ("/**: {ros__parameters: {use_sim_time: true}}\n/**/segment: {ros__parameters: {use_sim_time: false}}", False),
        ("/car/segment: {ros__parameters: {use_sim_time: true}}", True),
        ("/**/paint: {ros__parameters: {use_sim_time: true}}", False),
        ("/**: {ros__parameters: {use_sim_time: 1}}", False),
        ("/**: {ros__parameters: {cameras: [front]}}", False),
    ],
)
def test_sim_time_of_a_parameters_file(text: str, is_simulated: bool, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text)
    assert sim_time_of_file(str(tmp_path / "params.yaml"), "segment", "/car") is is_simulated


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


def test_a_file_for_several_nodes_names_each_in_any_namespace(tmp_path: Path) -> None:
    text = "/**: {ros__parameters: {cameras: [a]}}\n/**/segment: {ros__parameters: {cameras: [b]}}"
    (tmp_path / "params.yaml").write_text(text)
    assert cameras_of_file(str(tmp_path / "params.yaml"), "segment", "/car") == ["b"]
    assert cameras_of_file(str(tmp_path / "params.yaml"), "paint", "/car") == ["a"]


def test_the_vehicles_file_has_parameters_of_both_nodes_with_their_defaults() -> None:
    sections = yaml.safe_load((LAUNCH.parent / "config" / "vehicle.params.yaml").read_text(encoding="utf-8"))
    values = {name: section["ros__parameters"] for name, section in sections.items()}
    assert set(values) == {"/**", "/**/segment", "/**/paint"}
    segment, paint = values["/**"] | values["/**/segment"], values["/**"] | values["/**/paint"]
    assert set(segment) <= set(PARAMETERS)
    assert set(paint) <= set(PAINT_PARAMETERS)
    assert Settings().changed(segment) == Settings()
    assert PaintSettings().changed(paint) == PaintSettings()


def test_both_nodes_of_one_process_get_their_own_remappings_and_the_same_parameters() -> None:
    words = segment_and_paint_arguments(["front"], "/cam/{camera}", "", "/points", {"cameras": ["front"], "a": True})
    both = ["-p", 'cameras:=["front"]', "-p", "a:=true"]
    assert words == [
        *("--segment", "-r", "front/image:=/cam/front", "-r", "front/camera_info:=/cam/camera_info", *both),
        *("--paint", "-r", "points:=/points", *both),
    ]
    assert segment_and_paint_arguments([], "", "", "", {}) == ["--segment", "--paint"]


@pytest.mark.parametrize(
    ("arguments", "image", "overlay", "points"),
    [
        (([], "", "", "segment"), "/image", "/segment/overlay", "/paint/points"),
        (([""], "/cam", "", "segment"), "/cam", "/segment/overlay", "/paint/points"),
        ((["front", "left"], "", "car", "eyes"), "/car/front/image", "/car/eyes/front/overlay", "/car/paint/points"),
        (
            (["front"], "cam/{camera}", "/car/", "segment"),
            "/car/cam/front",
            "/car/segment/front/overlay",
            "/car/paint/points",
        ),
    ],
)
def test_rviz_follows_the_nodes(
    arguments: tuple[list[str], str, str, str], image: str, overlay: str, points: str
) -> None:
    found = dict(rviz_remappings(*arguments))
    assert [found[topic] for topic in ("/image", "/segment/overlay", "/paint/points")] == [image, overlay, points]


def calls(tree: ast.AST, *names: str) -> set[str]:
    """The texts among the first two arguments of calls of some functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            found |= {argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant)}
    return found


def with_parts(tree: ast.Module) -> ast.Module:
    """A launch file with the functions of the parts that it calls, and that those call."""
    parts = ast.parse((LAUNCH.parent / "lwseg_ros" / "node" / "launch_parts.py").read_text(encoding="utf-8"))
    left = {node.name: node for node in parts.body if isinstance(node, ast.FunctionDef) and node.name != "text"}
    body = list(tree.body)
    for statement in body:  # grows
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in left:
                    body.append(left.pop(called))
    return ast.Module(body, [])


def declared_by(tree: ast.Module) -> set[str]:
    """The arguments that a launch file with its parts declares."""
    declared = calls(tree, "DeclareLaunchArgument")
    if "node_arguments" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        declared |= set(PAINT_PARAMETERS if "PAINT_PARAMETERS" in names else PARAMETERS)  # in a loop over the table
    return declared


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.py")), ids=lambda path: path.name)
def test_launch_files_use_only_arguments_that_they_declare(path: Path) -> None:
    source = ast.parse(path.read_text(encoding="utf-8"), str(path))
    compile(source, str(path), "exec")
    tree = with_parts(source)
    used = calls(tree, "LaunchConfiguration", "text")
    assert used
    assert used <= declared_by(tree)


def test_replay_passes_on_only_what_segment_declares() -> None:
    segment = with_parts(ast.parse((LAUNCH / "segment.launch.py").read_text(encoding="utf-8")))
    replay = ast.parse((LAUNCH / "replay.launch.py").read_text(encoding="utf-8"))
    passed_on: set[str] = {"use_sim_time"}
    for node in ast.walk(replay):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "passed_on":
            passed_on |= set(ast.literal_eval(node.value))
    assert len(passed_on) > 1
    assert passed_on <= declared_by(segment)
