"""`lwseg models`: files, figures, and what is taken."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import pytest
from support.conversions import copied, write_conversion

from lwseg_ros.backends import load_runtime
from lwseg_ros.commands import models
from lwseg_ros.model.model_file import ModelFile, shipped_models


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    models.add_arguments(parser)
    return models.run(parser.parse_args(arguments))


def test_files_figures_and_what_each_runtime_takes(
    tiny_model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = copied(tiny_model, tmp_path)
    figures = {"openvino": {"miou": 0.5, "miou_change": -0.0012, "equal_labels": 0.99123}}
    write_conversion(parent, "int8", parent={"sha256": parent.sha256, "runtimes": figures})
    write_conversion(parent, "fp16", sha256="ab" * 32)
    monkeypatch.setattr(load_runtime("openvino"), "preferred_precisions", lambda options: ("int8",))
    assert command(str(parent.path)) == 0
    printed = capsys.readouterr()
    assert "in openvino: mIoU 0.5000 (-0.0012), the fp32 file's labels on 99.12% of the pixels" in printed.out
    assert "mIoU: not measured" in printed.out
    assert "terms of its data: source and terms are not recorded" in printed.out
    assert "openvino takes tiny.int8.onnx" in printed.out
    assert "onnxruntime takes tiny.onnx" in printed.out
    assert "warning: model file" in printed.err
    assert "was made of another file" in printed.err
    assert command(str(parent.path), "--json") == 0
    listed = json.loads(capsys.readouterr().out)[str(parent.path)]
    assert [file["precision"] for file in listed["files"]] == ["fp32", "int8"]
    assert listed["taken"]["openvino"] == "tiny.int8.onnx"


@pytest.mark.parametrize(
    ("runtimes", "said"),
    [
        ({"x\x1b": {}}, ["in x\\x1b: mIoU not measured (not measured)", "labels on not measured of the pixels"]),
        (
            {"x": 3, "y": {"miou": "good", "equal_labels": 1}},
            ["in x: mIoU not measured", "in y: mIoU `good`", "on 1 of"],
        ),
        (["openvino"], []),
        (None, []),
    ],
)
def test_figures_of_another_form_are_said_to_be_none(
    runtimes: object, said: list[str], tiny_model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = copied(tiny_model, tmp_path)
    write_conversion(parent, "int8", parent={"sha256": parent.sha256, "runtimes": runtimes})
    assert command(str(parent.path)) == 0
    printed = capsys.readouterr().out
    assert printed.count("        in ") == sum("in " in part for part in said)
    assert all(part in printed for part in said)


def test_the_cards_in_the_docs_are_those_of_the_shipped_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--card") == 0
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert page == capsys.readouterr().out, "a model changed: run `make cards`"
    for name, path in shipped_models().items():
        assert f"# Model card: `{name}`\n" in page
        assert hashlib.sha256(path.read_bytes()).hexdigest() in page


def test_the_shipped_ones_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--json") == 0
    assert json.loads(capsys.readouterr().out).keys() == shipped_models().keys()
