"""Training, from top to bottom: begin or resume, step after step, and the summary."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from lwseg_ros.errors import LwsegError, RecipeError
from lwseg_ros.host.files import write_atomically, write_json
from lwseg_training.data.samples import StepSampler, training_loader, worker_count
from lwseg_training.distributed import any_process, from_main
from lwseg_training.engine.allocator import keep_freed_memory
from lwseg_training.engine.interruption import stop_requests
from lwseg_training.engine.provenance import source_commit
from lwseg_training.engine.run_log import RunLog
from lwseg_training.engine.state import TrainingState, initial_state, restored_state, save_state
from lwseg_training.engine.step import TakenStep, TrainingStep, log_entry
from lwseg_training.engine.task import Task

LOG_EVERY_STEPS = 20


class TrainingStoppedError(LwsegError):
    """A signal stopped a run, which was saved and can be gone on with."""


def fit(task: Task, out: Path, *, resume: bool = False, tensorboard: bool = False) -> dict[str, Any]:
    """Train to the end of the schedule and return the summary, in every process.

    SIGTERM and SIGINT save and stop after the current step, with TrainingStoppedError.

    Args:
        task: what to train.
        out: folder for last.pt, best.pt, log.jsonl, curves.png, recipe.yaml and summary.json.
        resume: go on from ``out/last.pt`` where there is one.
        tensorboard: write the log for TensorBoard too, into ``out/tensorboard``.

    Raises RecipeError where ``out`` holds another run, or one that is not to be gone on with; CheckpointError where last.pt or the
    recipe's warm start does not fit; TrainingDivergedError.
    """
    process, recipe, total_steps = task.process, task.recipe, task.length.total_steps
    source_commit()  # now: by the first checkpoint the source may be another than what is running
    if process.device.type == "cpu":
        keep_freed_memory()
    else:
        torch.backends.cudnn.benchmark = True  # crops have one size, or two

    last = out / "last.pt"
    if resume and last.is_file():
        state = restored_state(task, last)
    elif last.exists():
        raise RecipeError(f"{out} already holds a run; add --resume to go on with it, or choose another --out")
    else:
        state = initial_state(task)
    step = TrainingStep(task, state)
    sampler = StepSampler(recipe.batch_size, state.step, total_steps, process.rank, process.world_size)
    batches = training_loader(task.samples, sampler, worker_count(recipe), pin=process.device.type == "cuda")
    log = _open_folder(task, state, out, tensorboard)

    steps: list[TakenStep] = []  # since the last entry of the log
    with stop_requests() as stops, _progress_bar(task, state) as progress:
        ready = time.perf_counter()
        for image, label in batches:
            begun = time.perf_counter()
            loss, norm = step.take(image, label)
            progress.update()
            ended = time.perf_counter()
            state.seconds += ended - ready
            steps.append(TakenStep(loss, norm, waited_s=begun - ready, worked_s=ended - begun))
            finished = state.step == total_steps
            if state.step % LOG_EVERY_STEPS == 0 or finished:
                entry = log_entry(task, state, steps)
                steps.clear()
                progress.set_postfix(
                    epoch=entry["epoch"], loss=f"{entry['loss']:.3f}", best=f"{state.best:.3f}", refresh=False
                )
                if process.is_main:
                    log.append(**entry)
            if state.step % task.length.evaluate_every == 0 or finished:
                _evaluate(task, state, log, out)
            if state.step % recipe.checkpoint_every_steps == 0 or finished:
                save_state(task, state, last)
            if not finished and any_process(process, bool(stops)):
                break
            ready = time.perf_counter()

    if state.step < total_steps:
        save_state(task, state, last)
        raise TrainingStoppedError(f"stopped at step {state.step} of {total_steps}; go on with --resume --out {out}")
    if state.used_otherwise or not any(task.metric in entry for entry in log.entries):
        # It was finished before; its network is used otherwise now, or its log is gone.
        _evaluate(task, state, log, out)
        save_state(task, state, last)
    return from_main(process, _write_summary(task, state, log, out) if process.is_main else {})


def _open_folder(task: Task, state: TrainingState, out: Path, tensorboard: bool) -> RunLog:
    """Make the output folder with the recipe in it, and cut its log back to the step."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"cannot make the output folder {out} ({error.strerror}); choose another --out") from error
    log = RunLog(out / "log.jsonl", out / "tensorboard" if tensorboard else None)
    if task.process.is_main:
        log.resume(state.step)
        write_atomically(out / "recipe.yaml", task.recipe.to_yaml().encode())
    return log


def _progress_bar(task: Task, state: TrainingState) -> tqdm[NoReturn]:
    return tqdm(
        total=task.length.total_steps,
        initial=state.step,
        unit="step",
        disable=not task.process.is_main,
        smoothing=0.05,
        mininterval=1.0 if sys.stderr.isatty() else 30.0,
    )


def _evaluate(task: Task, state: TrainingState, log: RunLog, out: Path) -> None:
    """Evaluate the network in the main process, log its figures, draw the curves, and keep the network if it is the best so far."""
    if not task.process.is_main:
        return
    figures = task.evaluate(state.evaluated_network)
    log.append(step=state.step, **figures)
    if figures[task.metric] > state.best:
        state.best = figures[task.metric]
        save_state(task, state, out / "best.pt")
    log.draw(out / "curves.png", f"{task.recipe.network.name} on {task.recipe.dataset.name}", task.curves)


def _write_summary(task: Task, state: TrainingState, log: RunLog, out: Path) -> dict[str, Any]:
    """Write and return what was done, the last and the best validation figures among it."""
    evaluations = [entry for entry in log.entries if task.metric in entry]
    summary = {
        "recipe": task.recipe.model_dump(mode="json"),
        "commit": source_commit(),
        "evaluated_on": task.evaluated_on,
        "images": task.images,
        "start": state.start,
        "teacher": state.teacher,
        "steps": state.step,
        "skipped_steps": state.skipped,
        "training_seconds": round(state.seconds, 1),
        "device": task.process.device_name,
        "hardware": task.process.hardware,
        "torch_version": str(torch.__version__),
        "last": evaluations[-1],
        "best": max(evaluations, key=lambda entry: entry[task.metric]),
    }
    write_json(out / "summary.json", summary)
    return summary
