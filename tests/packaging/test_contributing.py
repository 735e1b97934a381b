"""CONTRIBUTING.md: its recipes work as they stand, and what it names exists."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import tiny_model as tiny
from support.contributed import GUIDE, ROOT, add_shown_file, run_in

from lwseg_ros.classes import ClassInfo, number_classes

NAMED = sorted(set(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL))))
# Not the reader's own files, nor what commands write.
PATHS = [name for name in NAMED if re.fullmatch(r"(?!out/)[\w./*]+/[\w.*]*", name) and not re.search("NAME|toy", name)]


def test_the_data_set_is_found_listed_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, data = tmp_path / "tree", tmp_path / "data"
    add_shown_file(tree, "lwseg_ros/datasets/toy.py")
    classes = number_classes(["ground", "sky"], [(128, 64, 128), (70, 130, 180)])
    label = np.zeros((48, 64), np.uint8)
    label[:24] = 1
    for folder, picture in (("images", tiny_image(label, classes)), ("labels", label)):
        (data / folder / "val").mkdir(parents=True)
        assert cv2.imwrite(str(data / folder / "val" / "a.png"), picture)
    monkeypatch.setattr(tiny, "CLASSES", classes)
    model = tiny.write_tiny_model(tmp_path / "tiny.onnx")

    (choices,) = set(re.findall(r"--dataset {([^}]+)}", run_in(tree, "-m", "lwseg_ros.cli", "evaluate", "--help")))
    assert "toy" in choices.split(",")
    command = ["evaluate", str(model.path), "--backend", "onnxruntime", "--dataset", "toy", "--data", str(data)]
    figures = json.loads(run_in(tree, "-m", "lwseg_ros.cli", *command, "--split", "val", "--json"))
    assert figures["images"] == 1
    assert figures["per_class_iou"].keys() == {"ground", "sky"}
    assert figures["miou"] > 0.9


def tiny_image(label: np.ndarray, classes: tuple[ClassInfo, ...]) -> np.ndarray:
    return np.array([info.color_rgb[::-1] for info in classes], np.uint8)[label]


@pytest.mark.parametrize("path", PATHS)
def test_a_file_or_folder_exists(path: str) -> None:
    assert list(ROOT.glob(path))


def test_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([\w/]+(?:/|\.py))`", text))
    assert len(names) > 20
    rooms = [ROOT, ROOT / "lwseg_ros", ROOT / "lwseg_ros" / "replay", ROOT / "training" / "lwseg_training"]
    assert [name for name in sorted(names) if not any((room / name).exists() for room in rooms)] == []


def test_links_lead_somewhere() -> None:
    for link, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", GUIDE):
        headings = re.findall(r"^#+ (.*)$", (ROOT / link).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("lwseg_ros.backends", ["BACKENDS"]),
        ("lwseg_ros.backends.base", ["Runtime"]),
        ("lwseg_ros.backends.onnxruntime", ["probe", "open"]),
        ("lwseg_ros.node.parameters", ["Settings", "PARAMETERS"]),
        ("lwseg_ros.evaluation.metrics", ["ConfusionMatrix", "UncertaintyMetrics"]),
        ("lwseg_ros.commands.evaluate", ["table"]),
        ("lwseg_ros.commands.replay_common", ["summary"]),
    ],
)
def test_what_a_recipe_tells_to_extend_is_where_it_says(module: str, names: list[str]) -> None:
    assert f"`{module.replace('.', '/')}" in GUIDE
    for name in names:
        assert f"`{name}`" in GUIDE
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    ("path", "table"),
    [
        ("tests/backends/test_contract.py", "PARAMETERS = ["),
        ("training/lwseg_training/networks/registry.py", "class PublishedCount:"),
    ],
)
def test_the_contract_suites_have_their_tables(path: str, table: str) -> None:
    assert f"\n{table}" in (ROOT / path).read_text(encoding="utf-8")


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z]+)\b", GUIDE))
    assert targets >= {"setup", "check", "demo", "test"}
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))


def test_the_glossary_is_sorted() -> None:
    terms = re.findall(r"^\| ([^|]+) \|", GUIDE.split("## Glossary")[1], flags=re.MULTILINE)[2:]
    assert terms == sorted(terms, key=str.lower)
