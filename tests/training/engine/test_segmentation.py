"""The trainer: what it leaves behind, what it refuses, and how it bears gradients that are not finite."""

from __future__ import annotations

import json
import shutil
import signal
from collections import deque
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from lwseg_training.config.recipe import Recipe, load_recipe, parse_recipe
from lwseg_training.data.samples import StepSampler, training_loader
from lwseg_training.distributed import Process
from lwseg_training.engine.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lwseg_training.engine.fit import fit
from lwseg_training.engine.segmentation import SegmentationTask
from lwseg_training.engine.state import initial_state, restored_state, save_state
from lwseg_training.engine.step import MAX_SKIPPED_IN_WINDOW, TrainingDivergedError, TrainingStep
from lwseg_training.optim.ema import averaged
from support.camvid_miniature import miniature_recipe, write_miniature
from torch import Tensor, nn
from torch.amp import GradScaler

from lwseg_ros.errors import LwsegError, RecipeError

ALONE = Process(0, 1, torch.device("cpu"))


def recipe_of(**changes: Any) -> Recipe:
    return parse_recipe(miniature_recipe(**changes))


def batches(task: SegmentationTask, count: int) -> list[tuple[Tensor, Tensor]]:
    return list(training_loader(task.samples, StepSampler(task.recipe.batch_size, 0, count), 0, pin=False))


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


def test_a_run_leaves_checkpoints_log_curves_recipe_and_summary(run_folder: Path) -> None:
    names = {"last.pt", "best.pt", "log.jsonl", "curves.png", "recipe.yaml", "summary.json"}
    assert {path.name for path in run_folder.iterdir()} == names
    entries = [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries if "loss" in entry] == [20, 40, 60]
    evaluated = [entry for entry in entries if "miou" in entry]
    assert [entry["step"] for entry in evaluated] == [30, 60]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    assert all(entry["images_per_s"] > 0 and 0 <= entry["loader_wait_share"] < 1 for entry in entries if "lr" in entry)
    assert evaluated[-1]["per_class_iou"]["bicyclist"] is None

    summary = json.loads((run_folder / "summary.json").read_text())
    assert summary["last"] == evaluated[-1]
    assert summary["best"] == max(evaluated, key=lambda entry: entry["miou"])
    assert summary["best"]["miou"] > 0.4
    assert (summary["steps"], summary["evaluated_on"], summary["device"]) == (60, "val", "cpu")
    assert summary["images"] == {"train": 9, "evaluated": 3}
    assert load_checkpoint(run_folder / "best.pt")["step"] == summary["best"]["step"]
    assert load_recipe(run_folder / "recipe.yaml").model_dump(mode="json") == summary["recipe"]
    assert cv2.imread(str(run_folder / "curves.png")) is not None


@pytest.mark.parametrize("stop_after", [3, 8])
def test_told_to_stop_it_stops_after_the_step_unless_that_was_the_last(
    stop_after: int, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SegmentationTask(recipe_of(), miniature, ALONE)
    take = TrainingStep.take

    def signalled(step: TrainingStep, image: Tensor, label: Tensor) -> tuple[Tensor, float]:
        if step.state.step == stop_after - 1:
            signal.raise_signal(signal.SIGTERM)
        return take(step, image, label)

    monkeypatch.setattr(TrainingStep, "take", signalled)
    if stop_after == task.length.total_steps:
        assert fit(task, tmp_path / "run")["steps"] == 8
    else:
        with pytest.raises(LwsegError, match="stopped at step 3 of 8; go on with --resume"):
            fit(task, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.pt")["step"] == stop_after


def test_epochs_count_all_images(miniature: Path) -> None:
    length = SegmentationTask(recipe_of(schedule={"epochs": 4}), miniature, ALONE).length
    assert (length.steps_per_epoch, length.total_steps) == (3, 12)  # 9 images in batches of 4
    assert SegmentationTask(recipe_of(schedule={"epochs": 0.01}), miniature, ALONE).length.total_steps == 1


def test_a_run_on_several_splits_says_that_it_was_trained_on_what_it_evaluates(miniature: Path, tmp_path: Path) -> None:
    recipe = recipe_of(dataset={"name": "camvid", "train_split": ["train", "val"]}, schedule={"steps": 2})
    summary = fit(SegmentationTask(recipe, miniature, ALONE), tmp_path / "run")
    assert summary["images"] == {"train": 12, "evaluated": 3}
    assert summary["evaluated_on"] == "val (trained on)"
    assert summary["recipe"]["dataset"]["train_split"] == ["train", "val"]
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe


def test_the_warm_up_can_be_given_in_epochs(miniature: Path) -> None:
    schedule = {"epochs": 8, "warmup_epochs": 2, "power": 1.0}
    task = SegmentationTask(recipe_of(schedule=schedule), miniature, ALONE)
    rates = [task.learning_rate(step) / task.recipe.optimizer.lr for step in (0, 5, 6, 15)]  # 3 steps an epoch
    assert rates == pytest.approx([1 / 6, 1, 1, 0.5])


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"inference": {"size_hw": [32, 48]}, "augmentation": {"crop_hw": [48, 64], "short_side": 32}},
        {"optimizer": {"kind": "sgd", "lr": 0.02, "weight_decay": 5e-4, "clip_norm": 1.0}},
        {"optimizer": {"kind": "muon", "lr": 0.002, "weight_decay": 0.05}},
        {"loss": {"kind": "ohem", "class_weights": "inverse_log", "lovasz": 0.5, "label_smoothing": 0.05}},
        {"normalization": "per_image", "ema_decay": 0.0},
        {"dataset": {"name": "camvid", "held_out": ["0006R0"]}},
        {"workers": 2, "early": {"share": 0.5, "crop_hw": [32, 32], "scale": [0.4, 0.8]}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_part_of_a_recipe_trains(changes: dict[str, Any], miniature: Path, tmp_path: Path) -> None:
    summary = fit(SegmentationTask(recipe_of(**changes), miniature, ALONE), tmp_path / "run")
    assert summary["steps"] == 8
    assert summary["skipped_steps"] == 0
    assert 0 < summary["last"]["miou"] <= 1
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert all(torch.isfinite(value).all() for value in state["network"].values())
    assert (state["ema"] is None) == (changes.get("ema_decay") == 0.0)


def test_a_folder_that_holds_a_run_is_not_overwritten(run_folder: Path, miniature: Path) -> None:
    before = (run_folder / "last.pt").read_bytes()
    with pytest.raises(
        RecipeError, match="already holds a run; add --resume to go on with it, or choose another --out"
    ):
        fit(SegmentationTask(recipe_of(), miniature, ALONE), run_folder)
    assert (run_folder / "last.pt").read_bytes() == before


def test_resuming_with_another_recipe_or_other_data_is_refused(miniature: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(SegmentationTask(recipe_of(schedule={"epochs": 1}), miniature, ALONE), out)
    other = {"kind": "adamw", "lr": 0.001, "weight_decay": 0.01}
    with pytest.raises(RecipeError, match="was begun with another recipe; differing: optimizer, seed"):
        fit(
            SegmentationTask(recipe_of(schedule={"epochs": 1}, optimizer=other, seed=3), miniature, ALONE),
            out,
            resume=True,
        )
    fewer = write_miniature(tmp_path / "fewer", train=4)
    with pytest.raises(
        RecipeError, match="was begun as a run of 3 steps, with this data it has 1; resume with the data"
    ):
        fit(SegmentationTask(recipe_of(schedule={"epochs": 1}), fewer, ALONE), out, resume=True)
    workers = recipe_of(schedule={"epochs": 1}, workers=1)
    assert fit(SegmentationTask(workers, miniature, ALONE), out, resume=True)["steps"] == 3, (
        "how samples are prepared may change"
    )


def test_a_finished_run_is_evaluated_again_when_its_network_is_used_otherwise(miniature: Path, tmp_path: Path) -> None:
    """Neither the prior's correction nor the size of inference changes a weight, so nothing is trained again."""
    settings: dict[str, Any] = {"schedule": {"epochs": 4}, "precision": "fp32"}
    weighted = {"class_weights": "inverse_log"}
    used_otherwise = {"loss": {**weighted, "logit_adjustment": 1}, "inference": {"size_hw": [32, 48]}}
    out, afresh = tmp_path / "run", tmp_path / "afresh"
    before = fit(SegmentationTask(recipe_of(**settings, loss=weighted), miniature, ALONE), out)
    resumed = SegmentationTask(recipe_of(**settings, **used_otherwise), miniature, ALONE)
    assert restored_state(resumed, out / "last.pt").step == resumed.length.total_steps
    after = fit(resumed, out, resume=True)
    expected = fit(SegmentationTask(recipe_of(**settings, **used_otherwise), miniature, ALONE), afresh)
    assert after["last"] == expected["last"] != before["last"]
    assert after["recipe"] == expected["recipe"]
    state, expected_state = (load_checkpoint(folder / "last.pt") for folder in (out, afresh))
    assert state["recipe"] == expected_state["recipe"], "export uses the network as the checkpoint's recipe says"
    for name, value in expected_state["network"].items():
        torch.testing.assert_close(state["network"][name], value, rtol=0, atol=0)


def test_a_run_of_a_version_with_fewer_keys_is_resumed(miniature: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(SegmentationTask(recipe_of(schedule={"steps": 1}), miniature, ALONE), out)
    state = load_checkpoint(out / "last.pt")
    del state["format_version"], state["recipe"]["network"]["warm_start"], state["recipe"]["early"]
    save_checkpoint(out / "last.pt", state)
    assert fit(SegmentationTask(recipe_of(schedule={"steps": 1}), miniature, ALONE), out, resume=True)["steps"] == 1


def test_resuming_from_a_damaged_checkpoint_is_refused(run_folder: Path, miniature: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "last.pt").write_bytes((run_folder / "last.pt").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"last\.pt is not a readable checkpoint"):
        fit(SegmentationTask(load_recipe(out / "recipe.yaml"), miniature, ALONE), out, resume=True)


@pytest.mark.parametrize("log_is_there", [True, False])
def test_resuming_a_finished_run_gives_its_summary_again(
    log_is_there: bool, run_folder: Path, miniature: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    if not log_is_there:
        (out / "log.jsonl").unlink()
    expected = json.loads((out / "summary.json").read_text())
    summary = fit(SegmentationTask(load_recipe(out / "recipe.yaml"), miniature, ALONE), out, resume=True)
    assert summary["last"] == expected["last"]
    assert summary["steps"] == 60


def test_an_output_folder_that_cannot_be_made_is_refused(miniature: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match=r"cannot make the output folder .*; choose another --out"):
        fit(SegmentationTask(recipe_of(), miniature, ALONE), tmp_path / "file" / "run")


def test_a_step_with_gradients_that_are_not_finite_is_counted_and_changes_no_weight(miniature: Path) -> None:
    task = SegmentationTask(recipe_of(), miniature, ALONE)
    state = initial_state(task)
    step = TrainingStep(task, state)
    first, second, third = batches(task, 3)
    step.take(*first)
    weight = state.network.head[0][0].weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0, 0, 0] = torch.inf
    before, averaged_before = weights_of(state.network), weights_of(state.ema)
    moments = [moment["exp_avg"].clone() for moment in state.optimizer.state.values()]
    _, norm = step.take(*second)
    assert norm != norm or norm == torch.inf
    assert state.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in state.network.named_parameters())
    assert all(torch.equal(value, averaged_before[name]) for name, value in state.ema.named_parameters())
    assert all(
        torch.equal(after["exp_avg"], moment)
        for after, moment in zip(state.optimizer.state.values(), moments, strict=True)
    )

    with torch.no_grad():
        weight.copy_(kept)
    _, norm = step.take(*third)
    assert norm < torch.inf
    assert state.skipped == 1
    assert not torch.equal(weight, kept)


def test_a_scaled_loss_makes_the_same_step_and_an_overflow_lowers_the_scale(miniature: Path) -> None:
    """The scaling that fp16 trains with, in fp32, since that wants a GPU: a power of two changes no digit of a gradient."""
    task = SegmentationTask(recipe_of(optimizer={"kind": "sgd", "lr": 0.01, "clip_norm": 1.0}), miniature, ALONE)
    (image, label), *_ = batches(task, 1)
    plain, scaled = initial_state(task), initial_state(task)
    assert not plain.scaler.is_enabled()
    scaled.scaler = GradScaler("cpu", init_scale=2.0**12)
    losses = [TrainingStep(task, state).take(image, label) for state in (plain, scaled)]
    assert float(losses[0][0]) == float(losses[1][0]), "the loss is told as it is"
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-6)
    expected = weights_of(plain.network)
    assert all(torch.allclose(weight, expected[name]) for name, weight in weights_of(scaled.network).items())

    with torch.no_grad():
        scaled.network.head[0][0].weight[0, 0, 0, 0] = torch.inf
    before = weights_of(scaled.network)
    TrainingStep(task, scaled).take(image, label)
    assert scaled.skipped == 1
    assert scaled.scaler.get_scale() == 2.0**11
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(scaled.network).items())


def test_float16_is_refused_on_a_cpu(miniature: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="precision: fp16 is trained in on GPUs only; choose bf16 or fp32 on a CPU"):
        fit(SegmentationTask(recipe_of(precision="fp16"), miniature, ALONE), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_that_diverges_ends_with_what_to_do(miniature: Path, tmp_path: Path) -> None:
    absurd = {"optimizer": {"kind": "sgd", "lr": 1e30}, "schedule": {"steps": 200}}
    task = SegmentationTask(recipe_of(**absurd), miniature, ALONE)
    message = r"26 of the last \d+ steps had non-finite gradients at step \d+; lower optimizer\.lr \(now 1e\+30\)"
    with pytest.raises(TrainingDivergedError, match=message):
        fit(task, tmp_path / "run")
    state = initial_state(task)
    step = TrainingStep(task, state)
    with pytest.raises(TrainingDivergedError, match=message):
        deque((step.take(image, label) for image, label in batches(task, 200)), maxlen=0)
    assert state.skipped == MAX_SKIPPED_IN_WINDOW + 1
    assert issubclass(TrainingDivergedError, LwsegError)


def test_skipped_steps_are_remembered_over_a_resume(miniature: Path, tmp_path: Path) -> None:
    task = SegmentationTask(recipe_of(), miniature, ALONE)
    state = initial_state(task)
    state.step, state.skipped = 2, 1
    state.recently_skipped.extend([True, False])
    save_state(task, state, tmp_path / "last.pt")
    resumed = restored_state(task, tmp_path / "last.pt")
    assert (resumed.step, resumed.skipped, list(resumed.recently_skipped)) == (2, 1, [True, False])


def test_clipping_bounds_the_step(miniature: Path) -> None:
    plain = {"kind": "sgd", "lr": 1.0, "momentum": 0.0, "clip_norm": 0.01}
    recipe = recipe_of(optimizer=plain, schedule={"steps": 8, "power": 1.0})
    task = SegmentationTask(recipe, miniature, ALONE)
    state = initial_state(task)
    before = weights_of(state.network)
    _, norm = TrainingStep(task, state).take(*batches(task, 1)[0])
    moved = torch.cat([(value - before[name]).flatten() for name, value in weights_of(state.network).items()]).norm()
    assert norm > 0.01, "the norm that is reported is that before clipping"
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


def test_the_average_follows_its_recurrence_and_copies_counters() -> None:
    module = nn.BatchNorm1d(2)
    average = averaged(module, 0.9)
    expected = module.weight.detach().clone()
    for update in range(1, 25):
        with torch.no_grad():
            module.weight.fill_(float(update))
            module.running_mean.fill_(float(-update))
            module.num_batches_tracked.fill_(update)
        average.update_parameters(module)
        count = update - 1
        decay = min(0.9, (1 + count) / (10 + count)) if count else 0.0
        expected = decay * expected + (1 - decay) * update
    assert torch.allclose(average.module.weight, expected)
    assert torch.allclose(average.module.running_mean, -expected)
    assert int(average.module.num_batches_tracked) == 24
    assert 14 < float(average.module.weight[0].detach()) < 24


class WithoutBatchNorm(SegmentationTask):
    def build_network(self) -> nn.Module:
        network = super().build_network()
        for module in list(network.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(module, name, nn.GroupNorm(1, child.num_features))
        return network


def test_a_batch_in_parts_makes_the_step_of_the_whole(miniature: Path) -> None:
    def step(parts: int) -> tuple[dict[str, Tensor], float, float]:
        changes = {
            "accumulate": parts,
            "optimizer": {"kind": "sgd", "lr": 0.1},
            "loss": {"class_weights": "inverse_log"},
        }
        task = WithoutBatchNorm(recipe_of(**changes), miniature, ALONE)
        state = initial_state(task)
        (image, label), *_ = batches(task, 1)
        label[0, 10:] = 255  # the parts count differently many pixels
        loss, norm = TrainingStep(task, state).take(image, label)
        return weights_of(state.network), float(loss), norm

    whole, whole_loss, whole_norm = step(1)
    start = weights_of(initial_state(WithoutBatchNorm(recipe_of(), miniature, ALONE)).network)
    for parts in (2, 4):
        weights, loss, norm = step(parts)
        assert (loss, norm) == pytest.approx((whole_loss, whole_norm), rel=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(weight - start[name], whole[name] - start[name], atol=1e-6, rtol=1e-3)


def test_each_part_has_batch_statistics_of_its_own(miniature: Path) -> None:
    task = SegmentationTask(recipe_of(accumulate=2), miniature, ALONE)
    state = initial_state(task)
    TrainingStep(task, state).take(*batches(task, 1)[0])
    assert int(state.network.state_dict()["decoder_norm.num_batches_tracked"]) == 2


def test_a_batch_that_does_not_divide_into_the_parts_is_refused(miniature: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="accumulate: the 4 images of a process cannot be gone through in 3 parts"):
        fit(SegmentationTask(recipe_of(accumulate=3), miniature, ALONE), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_dropout_draws_the_same_numbers_at_a_step_however_it_is_reached(miniature: Path) -> None:
    def noise_at_step_one(steps_before: int) -> Tensor:
        task = SegmentationTask(recipe_of(), miniature, ALONE)
        state = initial_state(task)
        torch.rand(steps_before + 1)
        state.step = 1
        TrainingStep(task, state).take(*batches(task, 1)[0])
        return torch.rand(3)

    assert torch.equal(noise_at_step_one(0), noise_at_step_one(5))
