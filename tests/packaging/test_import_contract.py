"""The directions between the rooms, as pyproject.toml has them, and that an import against them is seen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": "training", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the contract and of the modules of both packages."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("lwseg_ros", "training/lwseg_training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    return tmp_path


def test_the_packages_keep_it(tree: Path) -> None:
    done = lint_imports(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("lwseg_ros/errors.py", "from lwseg_ros import segmenter", "a room imports only from those below it"),
        ("lwseg_ros/evaluation/metrics.py", "import lwseg_ros.node.mailbox", "a room imports only from those below it"),
        ("lwseg_ros/replay/offline.py", "import lwseg_ros.replay.live.session", "know nothing of each other"),
        ("lwseg_ros/segmenter.py", "import torch", "A vehicle needs nothing of training"),
        ("lwseg_ros/node/worker.py", "import lwseg_training", "A vehicle needs nothing of training"),
        ("lwseg_ros/imaging/drawing.py", "import rclpy.node", "ROS is known to the node and the live replay alone"),
        (
            "lwseg_ros/node/program.py",
            "import launch_ros",
            "The package launch is known to what the launch files share",
        ),
        ("lwseg_ros/node/worker.py", "import rosbags", "Bags are read in replay alone"),
        ("lwseg_ros/painting/painter.py", "import sensor_msgs", "ROS is known to the node and the live replay alone"),
        (
            "lwseg_ros/painting/sweep.py",
            "import lwseg_ros.painting.projection",
            "lwseg_ros.painting: the painter stands",
        ),
        ("lwseg_ros/segmenter.py", "import openvino", "Runtimes are known to the backends alone"),
        ("lwseg_ros/node/worker.py", "import tensorrt", "Runtimes are known to the backends alone"),
        ("training/lwseg_training/data/samples.py", "import lwseg_ros.commands.bench", "Commands are no libraries"),
        ("lwseg_ros/commands/demo.py", "import lwseg_ros.commands.replay", "Commands are no libraries"),
        ("training/lwseg_training/commands/pretrain.py", "import lwseg_training.commands.train", "Commands are no"),
        ("training/lwseg_training/optim/ema.py", "import lwseg_training.engine.fit", "lwseg_training: a room"),
    ],
)
def test_an_import_against_it_is_seen(tree: Path, module: str, line: str, contract: str) -> None:
    path = tree / module
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint_imports(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in name and "BROKEN" in name for name in done.stdout.splitlines()), done.stdout


def test_a_reader_sees_the_rooms_at_a_glance() -> None:
    rooms = [
        path for path in (ROOT / "lwseg_ros").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    assert len(rooms) - 1 <= 14  # __init__.py is none


@pytest.mark.parametrize("package", ["lwseg_ros", "lwseg_training"])
def test_the_documented_rooms_are_those_of_the_contract(package: str) -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == [package])
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = document.split(f"{package}/` | |\n")[1].split("\n\n")[0]
    rooms = [re.findall(r"`(\w+)[/.]", row.split("|")[1]) for row in table.splitlines()[1:]]
    # A row may hold several layers, so the rooms are compared in their order.
    assert [room for row in rooms for room in row] == [room for layer in layers for room in layer.split(" | ")]
