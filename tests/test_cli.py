"""What scripts rely on in every command: exit codes, one line an error, help with an example."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lwseg_ros import cli
from lwseg_ros.cli import TRAINING_COMMANDS, VEHICLE_COMMANDS, installed_commands, main
from lwseg_ros.commands import bench
from lwseg_ros.errors import BackendError, RecipeWarning

# Those of training import torch; test_training_commands.py asks them in a process of their own.
COMMANDS = sorted(name for name, entry in installed_commands().items() if entry.value.startswith("lwseg_ros."))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"example:\n  lwseg {name} " in capsys.readouterr().out


def test_every_command_of_the_vehicle_is_there() -> None:
    wanted = {"evaluate", "build", "predict", "bench", "replay", "demo"}
    assert wanted <= set(installed_commands())


@pytest.mark.parametrize("arguments", [[], ["segmentate"], ["bench"], ["bench", "model.onnx", "--nonsense"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "usage" in printed.out + printed.err or "no command 'segmentate'; there are: " in printed.err


def test_training_commands_are_those_of_the_training_distribution() -> None:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    text = (Path(__file__).parents[1] / "training" / "pyproject.toml").read_text(encoding="utf-8")
    assert sorted(TRAINING_COMMANDS) == sorted(tomllib.loads(text)["project"]["entry-points"]["lwseg.commands"])


@pytest.mark.parametrize("name", TRAINING_COMMANDS)
def test_without_the_training_distribution_its_commands_say_how_to_get_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "installed_commands", dict)
    assert main([name, "--help"]) == 2
    package = "'./training[quantize]'" if name == "quantize" else "./training"
    assert capsys.readouterr().err == (
        f"lwseg: no command '{name}'; `pip install {package}` (from a checkout) brings it\n"
    )


def test_every_command_of_ours_is_described_and_those_of_others_are_named() -> None:
    assert list(VEHICLE_COMMANDS) == COMMANDS
    lines = cli.usage(["bench", "somebodys", "train"]).splitlines()
    start = lines.index("commands:")
    assert lines[start + 1 : start + 5] == [
        "  bench         latency and throughput of a model in each runtime",
        "  somebodys",
        "  train         train a network as a recipe says",
        "",
    ]


@pytest.mark.parametrize(
    ("package", "install"),
    [
        ("lwseg_ros", "`pip install .` (from a checkout)"),
        ("lwseg_training", "`pip install ./training` (from a checkout)"),
        ("somebodys", "`pip install somebodys`"),
    ],
)
def test_a_missing_module_is_named_with_what_to_type(
    package: str, install: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(entry: EntryPoint) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(EntryPoint, "load", fail)
    entry = EntryPoint("go", f"{package}.commands.go", "lwseg.commands")
    monkeypatch.setattr(cli, "installed_commands", lambda: {"go": entry})
    assert main(["go"]) == 1
    assert capsys.readouterr().err == f"lwseg go: the Python module 'torch' is not installed; {install} brings it\n"


def test_warnings_for_users_alone_are_shown_without_their_place_and_only_by_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []

    def show(args: object) -> int:
        for category in (FutureWarning, RecipeWarning, UserWarning):
            shown.append(warnings.formatwarning("old name", category, "file.py", 7, "call()"))
        return 0

    usual = warnings.formatwarning
    monkeypatch.setattr(bench, "run", show)
    assert main(["bench", "model.onnx"]) == 0
    for_users = ["FutureWarning: old name\n", "RecipeWarning: old name\n"]
    assert shown == [*for_users, "file.py:7: UserWarning: old name\n  call()\n"]
    assert warnings.formatwarning is usual


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_what_is_no_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert "lwseg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BackendError("out of memory; take a smaller batch"), "lwseg bench: out of memory; take a smaller batch\n"),
        (PermissionError(13, "Permission denied", "/models/a.onnx"), "'/models/a.onnx'\n"),
        (KeyboardInterrupt(), "lwseg bench: interrupted\n"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(
    error: BaseException, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(bench, "run", fail)
    assert main(["bench", "model.onnx"]) == 1
    printed = capsys.readouterr()
    assert printed.err.endswith(line)
    assert printed.err.count("\n") == 1
    assert not printed.out


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_a_reader_that_has_enough_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lwseg_ros.cli", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
