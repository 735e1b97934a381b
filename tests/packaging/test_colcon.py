"""A real colcon build of a copy of the tree: what lands in the install space is what `ros2` will find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("colcon_core", reason="colcon is not installed: pip install lwseg_ros[colcon]")
pytest.importorskip("colcon_ros", reason="colcon-ros is not installed: pip install lwseg_ros[colcon]")

from support.tiny_model import write_tiny_model

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def colcon(workspace: Path, *arguments: str) -> str:
    # Build under the interpreter of the tests; user settings and sourced workspaces of this machine stay out.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COLCON_", "AMENT_"))}
    environment |= {"PATH": f"{BIN}{os.pathsep}{environment['PATH']}", "COLCON_HOME": str(workspace / "home")}
    command = [sys.executable, "-m", "colcon", "--log-base", "log", *arguments]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git knows or would know, with one small model added to the shipped ones."""
    copy = tmp_path_factory.mktemp("colcon") / "lwseg_ros"
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip(f"{ROOT} is not a git checkout, so there is no telling which files belong to the package")
    for name in filter(None, listing.stdout.decode().split("\0")):
        source, target = ROOT / name, copy / name
        if source.is_symlink() or source.exists():  # a file that git knows may have been deleted
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    models = copy / "lwseg_ros" / "assets" / "models"
    models.mkdir(exist_ok=True)
    write_tiny_model(models / "tiny.onnx")
    return copy


@pytest.fixture(scope="module")
def install(tree: Path) -> Path:
    colcon(tree / "ros2_ws", "build", "--packages-select", "lwseg_ros")
    return tree / "ros2_ws" / "install" / "lwseg_ros"


def test_the_package_is_an_ament_python_package(tree: Path) -> None:
    names, paths, kinds = zip(
        *(line.split("\t") for line in colcon(tree / "ros2_ws", "list").splitlines()), strict=True
    )
    assert names == ("lwseg_ros",)
    assert paths == ("src/lwseg_ros",)
    assert kinds == ("(ros.ament_python)",)


def test_the_ament_index_knows_it(install: Path) -> None:
    assert (install / "share" / "ament_index" / "resource_index" / "packages" / "lwseg_ros").is_file()
    assert (install / "share" / "lwseg_ros" / "package.xml").is_file()
    assert (install / "share" / "lwseg_ros" / "hook" / "ament_prefix_path.sh").is_file()


def test_launch_config_and_models_are_installed(install: Path) -> None:
    share = install / "share" / "lwseg_ros"
    for folder in ("launch", "config"):
        shipped = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert shipped
        assert {path.name for path in (share / folder).iterdir()} == shipped
    assert (share / "models" / "tiny.onnx").is_file()
    assert list(install.glob("lib/python*/site-packages/lwseg_ros/assets/models/tiny.onnx"))
    assert list(install.glob("lib/python*/site-packages/lwseg_ros/assets/*/metadata.yaml"))


def test_a_vehicle_gets_nothing_of_training(install: Path) -> None:
    packages = {path.name for path in install.glob("lib/python*/site-packages/*") if path.is_dir()}
    assert "lwseg_ros" in packages
    assert not [name for name in packages if "training" in name]


def test_ros2_run_finds_the_node_and_it_starts_from_the_install_space(install: Path, tmp_path: Path) -> None:
    """`ros2 run` looks for executables in lib/<package> of the prefix."""
    executable = install / "lib" / "lwseg_ros" / "segment"
    assert os.access(executable, os.X_OK)
    (site_packages,) = install.glob("lib/python*/site-packages")
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(site_packages), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, str(executable), "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: segment" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import lwseg_ros; print(lwseg_ros.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert where.stdout.startswith(str(site_packages))
