"""What the README says exists, exists."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lwseg_ros.cli import installed_commands
from lwseg_ros.model.model_file import DEFAULT_MODEL, load_model, shipped_models
from lwseg_ros.node.parameters import PARAMETERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(value: object) -> str:
    """Write a default as the README does: like JSON."""
    if isinstance(value, tuple):
        return str(list(value)).replace("'", '"')
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_table(name: str) -> None:
    parameter = PARAMETERS[name]
    row = f"| `{name}` | `{shown(parameter.default)}` | {parameter.accepted} | {parameter.change} | {parameter.description} |"
    assert row in README


def test_commands_and_make_targets_exist() -> None:
    used = set(re.findall(r"\blwseg ([a-z]+)\b", README))
    assert used >= {"predict", "replay", "evaluate", "bench", "build"}
    training = (ROOT / "training" / "pyproject.toml").read_text(encoding="utf-8")
    of_training = set(re.findall(r'^(\w+) = "lwseg_training\.commands\.', training, flags=re.MULTILINE))
    assert used <= set(installed_commands()) | of_training
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"\bmake ([a-z]+)\b", README))
    assert targets >= {"demo", "test"}
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.jpg", np.full((90, 120, 3), 128, np.uint8))
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(90, 120) ['sky', 'building', ")


def test_the_shipped_models_labels() -> None:
    assert DEFAULT_MODEL in shipped_models()
    for name, path in shipped_models().items():
        classes = load_model(path).manifest.classes
        assert ", ".join(f"{c.id} {c.name}" for c in classes) in README
        assert f"\n| `{name}`" in README


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    assert "make test" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
