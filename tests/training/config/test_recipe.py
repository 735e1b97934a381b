"""Recipes: what is accepted, how values are overridden, and what the refusals say."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lwseg_training.config.recipe import (
    differing_in_training,
    differing_keys,
    load_recipe,
    parse_recipe,
    resolve_recipe,
    shipped_recipes,
)
from lwseg_training.networks import build_network
from support.camvid_miniature import miniature_recipe, write_recipe

from lwseg_ros.datasets import DATASETS
from lwseg_ros.errors import RecipeError, RecipeWarning

SHIPPED = shipped_recipes()


def with_value(key: str, value: Any) -> dict[str, Any]:
    """Return the miniature's recipe with one value, named by dots, replaced."""
    values = miniature_recipe()
    target = values
    *sections, name = key.split(".")
    for section in sections:
        target = target.setdefault(section, {})
    target[name] = value
    return values


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_found_by_name_and_make_sense(name: str) -> None:
    recipe = load_recipe(resolve_recipe(name))
    build_network(recipe.network.name, 11, **recipe.network.options)
    assert recipe.dataset.held_out == ()
    assert recipe.dataset.name in DATASETS
    crop_h, crop_w = recipe.augmentation.crop_hw
    assert recipe.network.options.get("size_hw", [crop_h, crop_w]) == [crop_h, crop_w]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_weigh_every_auxiliary_head(name: str) -> None:
    recipe = load_recipe(resolve_recipe(name))
    network = build_network(recipe.network.name, 3, **recipe.network.options).train()
    outputs = network(torch.zeros(2, 3, 64, 64))
    heads = 0 if isinstance(outputs, torch.Tensor) else len(outputs) - 1
    assert len(recipe.loss.auxiliary_weights) == heads


def test_there_are_shipped_recipes() -> None:
    assert "pilot" in SHIPPED


def test_written_out_in_full_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    recipe = parse_recipe(miniature_recipe(early={"share": 0.5, "crop_hw": [32, 32], "scale": [0.5, 1.0]}))
    path = tmp_path / "full.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe
    assert "ohem_threshold: 0.7" in path.read_text()


def test_overrides_change_single_values_and_are_read_as_yaml(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "mini.yaml")
    overrides = [
        "optimizer.lr=1.0e-3",
        "schedule.steps=null",
        "schedule.epochs=2.5",
        "dataset.held_out=[0006R0, 0001TP]",
        "network.options.sir_depthwise=true",
        "early.share=0.5",
        "early.crop_hw=[32, 32]",
        "early.scale=[0.5, 1]",
    ]
    recipe = load_recipe(path, overrides)
    assert recipe.optimizer.lr == 0.001
    assert recipe.optimizer.weight_decay == 0.01
    assert (recipe.schedule.steps, recipe.schedule.epochs) == (None, 2.5)
    assert recipe.dataset.held_out == ("0006R0", "0001TP")
    assert recipe.network.options == {"sir_blocks": 1, "dwr2_blocks": 1, "dwr3_blocks": 1, "sir_depthwise": True}
    assert recipe.early is not None
    assert recipe.early.crop_hw == (32, 32)


def test_an_override_that_replaces_a_section_says_which_keys_it_leaves_out(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "mini.yaml")
    with pytest.warns(RecipeWarning) as warned:
        recipe = load_recipe(
            path, ["augmentation={crop_hw: [32, 32], noise: 3}", "network={name: dwrseg_b, options: {}}"]
        )
    assert (recipe.augmentation.scale, recipe.augmentation.noise) == ((1.0, 1.0), 3)
    assert [str(warning.message) for warning in warned] == [
        "augmentation={...} replaces the whole section: brightness (0.2), scale ([0.8, 1.25]) fall back to their defaults; "
        "augmentation.KEY=VALUE changes single values",
        "network={...} replaces the whole section: options.dwr2_blocks (1), options.dwr3_blocks (1), options.sir_blocks (1) "
        "fall back to their defaults; network.KEY=VALUE changes single values",
    ]


def test_an_override_that_leaves_nothing_out_is_not_warned_of(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "mini.yaml")
    every = "augmentation={crop_hw: [32, 32], scale: [1, 2], brightness: 0.1, noise: 3}"
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecipeWarning)
        load_recipe(path, [every, "augmentation.blur=0.1", "early={share: 0.5, crop_hw: [32, 32], scale: [0.5, 1]}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.train_split=[]", "dataset.train_split"),
        ("optimizer.lr", "'optimizer.lr' is not key=value, such as optimizer.lr=0.01"),
        ("batch_size.x=3", "'batch_size.x=3': batch_size is a value, not a section"),
        ("seed=[1", "'seed=\\[1': the value is not YAML"),
        ("seed=2024-99-99", "the value is not YAML"),
        ("seed=" + "[" * 50_000, "the value is not YAML"),
        ("seed=&a [*a]", "the value is not YAML"),
        ("optimizer.speed=3", "optimizer.speed = 3: Extra inputs are not permitted"),
        ("optimiser.lr=3", "optimiser = {'lr': 3}: Extra inputs are not permitted"),
        ("=3", "Extra inputs are not permitted"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(write_recipe(tmp_path / "mini.yaml"), [override])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rate", 1, "learning_rate = 1: Extra inputs are not permitted"),
        ("batch_size", "many", "batch_size = 'many': Input should be a valid integer"),
        ("batch_size", 0, "batch_size = 0: Input should be greater than 0"),
        ("seed", -1, "seed = -1: Input should be greater than or equal to 0"),
        ("optimizer.kind", "adam", "optimizer.kind = 'adam': Input should be 'sgd', 'adamw' or 'muon'"),
        ("optimizer.lr", -0.1, "optimizer.lr = -0.1: Input should be greater than 0"),
        ("optimizer.lr", float("inf"), "optimizer.lr = inf: Input should be a finite number"),
        ("optimizer.weight_decay", float("nan"), "optimizer.weight_decay = nan"),
        ("precision", "int8", "precision = 'int8': Input should be 'fp32', 'bf16' or 'fp16'"),
        ("normalization", "none", "normalization = 'none': Input should be 'fixed' or 'per_image'"),
        ("augmentation.crop_hw", [64], "augmentation.crop_hw.1 = .*: Field required"),
        ("augmentation.crop_hw", [0, 64], "augmentation.crop_hw.0 = 0: Input should be greater than 0"),
        ("augmentation.scale", [0, 1], "augmentation.scale.0 = 0: Input should be greater than 0"),
        ("augmentation.scale", [2, 1], "augmentation.scale = .*: Value error, the smallest first, then the largest"),
        ("augmentation.flip", 1.5, "augmentation.flip = 1.5: Input should be less than or equal to 1"),
        ("loss.kind", "focal", "loss.kind = 'focal': Input should be 'cross_entropy' or 'ohem'"),
        ("ema_decay", 1.0, "ema_decay = 1.0: Input should be less than 1"),
        ("early", {"share": 1.0, "crop_hw": [8, 8], "scale": [1, 1]}, "early.share = 1.0: Input should be less than 1"),
    ],
)
def test_a_value_that_does_not_fit_is_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=f"recipe: .*{message}"):
        parse_recipe(with_value(key, value))


def test_all_faults_are_named_at_once() -> None:
    values = with_value("batch_size", 0)
    values["precision"] = "int8"
    with pytest.raises(RecipeError, match=r"batch_size = 0.*; precision = 'int8'"):
        parse_recipe(values)


@pytest.mark.parametrize("schedule", [{}, {"epochs": 2, "steps": 10}])
def test_schedule_wants_either_epochs_or_steps(schedule: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="schedule needs either epochs or steps, and not both"):
        parse_recipe(miniature_recipe(schedule=schedule))


def test_warm_up_wants_epochs_or_steps() -> None:
    schedule = {"epochs": 2, "warmup_steps": 10, "warmup_epochs": 1}
    with pytest.raises(RecipeError, match="schedule takes warmup_epochs or warmup_steps, and not both"):
        parse_recipe(miniature_recipe(schedule=schedule))


def test_images_are_evaluated_at_one_size_or_by_their_shorter_side() -> None:
    with pytest.raises(RecipeError, match=r"inference = .*give one of size_hw, short_side and long_side"):
        parse_recipe(miniature_recipe(inference={"size_hw": [32, 48], "short_side": 32}))


def test_a_missing_section_is_named() -> None:
    values = miniature_recipe()
    del values["optimizer"]
    with pytest.raises(RecipeError, match=r"optimizer = .*: Field required"):
        parse_recipe(values)


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'nowhere': give the path of a YAML file, or one of: .*pilot"):
        resolve_recipe("nowhere")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump([1, 2]))
    with pytest.raises(RecipeError, match=r"recipe\.yaml is not a mapping of sections"):
        load_recipe(path)
    path.write_text("network: {name: [")
    with pytest.raises(RecipeError, match=r"cannot read the recipe .*recipe\.yaml"):
        load_recipe(path)
    for explosive in ("[" * 50_000, "network: &a [*a]", "network: 2024-99-99"):
        path.write_text(explosive)
        with pytest.raises(RecipeError, match=r"cannot read the recipe .*recipe\.yaml"):
            load_recipe(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"cannot read the recipe .*recipe\.yaml"):
        load_recipe(path)


def test_a_recipe_can_hold_only_what_differs_from_its_base(tmp_path: Path) -> None:
    write_recipe(tmp_path / "mini.yaml")
    path = tmp_path / "changed.yaml"
    path.write_text("base: mini.yaml\nnetwork: {name: dwrseg_l}\nschedule: {steps: 3}\nearly: null\n")
    recipe, base = load_recipe(path, ["seed=4"]), load_recipe(tmp_path / "mini.yaml")
    assert recipe.network.name == "dwrseg_l"
    assert recipe.network.options == base.network.options
    assert (recipe.schedule.steps, recipe.schedule.warmup_steps) == (3, base.schedule.warmup_steps)
    assert (recipe.seed, recipe.optimizer) == (4, base.optimizer)
    path.write_text("base: pilot\nbatch_size: 3\n")
    assert load_recipe(path) == load_recipe(resolve_recipe("pilot"), ["batch_size=3"])


def test_frozen_batch_normalisation_wants_an_earlier_run() -> None:
    with pytest.raises(RecipeError, match=r"freeze_batch_norm keeps the statistics of an earlier run; name it in"):
        parse_recipe(miniature_recipe(freeze_batch_norm=True))


def test_a_base_that_is_missing_or_the_recipe_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: nowhere\n")
    with pytest.raises(RecipeError, match="no recipe 'nowhere'"):
        load_recipe(path)
    path.write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(RecipeError, match=r"a\.yaml is its own base: a\.yaml -> b\.yaml -> a\.yaml"):
        load_recipe(path)
    path.write_text(f"base: ../{tmp_path.name}/a.yaml\n")
    with pytest.raises(RecipeError, match=r"a\.yaml is its own base: a\.yaml -> a\.yaml"):
        load_recipe(path)


def test_recipes_are_compared_by_what_they_mean() -> None:
    recipe = parse_recipe(miniature_recipe())
    assert differing_keys(recipe, recipe.model_dump(mode="json")) == []
    assert differing_keys(recipe, miniature_recipe()) == [], "a key that was not written counts as its default"
    assert differing_keys(recipe, miniature_recipe(workers=7)) == []
    assert differing_keys(recipe, miniature_recipe(seed=3, normalization="per_image")) == ["normalization", "seed"]
    assert differing_keys(recipe, with_value("network.warm_start", "a.pt")) == ["network"]


def test_what_is_no_recipe_of_this_version_differs() -> None:
    recipe = parse_recipe(miniature_recipe())
    removed = recipe.model_dump(mode="json") | {"warp": 3}
    assert differing_keys(recipe, removed) == ["warp"]
    assert "network" in differing_keys(recipe, {})


def test_reading_recipes_needs_no_torch() -> None:
    lines = (
        "import sys",
        "from lwseg_training.config.pretraining_recipe import PRETRAINING_RECIPE_FOLDER, load_pretraining_recipe",
        "from lwseg_training.config.recipe import load_recipe, resolve_recipe",
        "load_recipe(resolve_recipe('pilot'))",
        "load_pretraining_recipe(resolve_recipe('lemore_imagenet1k', PRETRAINING_RECIPE_FOLDER))",
        "assert 'torch' not in sys.modules",
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment, check=True, timeout=60)


EARLIER_KEYS = {
    "dataset.leave_out": ["0006R0"],
    "loss.prior_correction": 0.25,
    "network.initial_weights": "runs/a/last.pt",
    "network.initial_weights_left_out": "runs/{sequence}/last.pt",
}


def read_with_earlier_keys(tmp_path: Path, overrides: list[str]) -> dict[str, Any]:
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml"), overrides).model_dump(mode="json")
    return {
        "dataset.leave_out": recipe["dataset"]["held_out"],
        "loss.prior_correction": recipe["loss"]["logit_adjustment"],
        "network.initial_weights": recipe["network"]["warm_start"],
        "network.initial_weights_left_out": recipe["network"]["warm_start_held_out"],
    }


def test_earlier_keys_are_read_with_a_warning_from_files_and_overrides(tmp_path: Path) -> None:
    overrides = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}" for key, value in EARLIER_KEYS.items()
    ]
    with pytest.warns(FutureWarning, match="is called") as warned:
        assert read_with_earlier_keys(tmp_path, overrides) == EARLIER_KEYS
    assert len(warned) == len(EARLIER_KEYS)
    based = tmp_path / "based.yaml"
    based.write_text("base: recipe.yaml\nloss: {prior_correction: 0.5}\n")
    with pytest.warns(FutureWarning, match=r"based\.yaml: loss\.prior_correction is called loss\.logit_adjustment now"):
        assert load_recipe(based, ["loss.logit_adjustment=0.75"]).loss.logit_adjustment == 0.75


def test_an_earlier_runs_recipe_is_the_same_under_its_earlier_keys() -> None:
    recipe = parse_recipe(with_value("loss.logit_adjustment", 0.25))
    earlier = recipe.model_dump(mode="json")
    earlier["loss"]["prior_correction"] = earlier["loss"].pop("logit_adjustment")
    earlier["dataset"]["leave_out"] = earlier["dataset"].pop("held_out")
    assert differing_keys(recipe, earlier) == []
    earlier["loss"]["prior_correction"] = 0.5
    assert differing_keys(recipe, earlier) == ["loss"]
    assert differing_in_training(recipe, earlier) == []


def test_a_key_by_both_of_its_names_is_refused_and_an_override_replaces_either(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text("base: lemore_camvid\nloss: {prior_correction: 0.5, logit_adjustment: 0.25}\n")
    with pytest.raises(RecipeError, match=r"both\.yaml: loss\.prior_correction and loss\.logit_adjustment are one key"):
        load_recipe(path)
    for name in ("prior_correction", "logit_adjustment"):
        path.write_text(f"base: lemore_camvid\nloss: {{{name}: 0.5}}\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            assert load_recipe(path, ["loss.prior_correction=0.125"]).loss.logit_adjustment == 0.125
            assert load_recipe(path, ["loss.logit_adjustment=0.125"]).loss.logit_adjustment == 0.125


def test_exposure_under_a_normalization_that_takes_it_out_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"exposure 0\.5 changes nothing under normalization per_image"):
        parse_recipe(miniature_recipe(exposure=0.5, normalization="per_image"))
    assert parse_recipe(miniature_recipe(normalization="per_image")).exposure == 0
