"""A frame's way in stages, from the clocks of the node and of the camera beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.closed_loop import Answer

Span = tuple[str, int, int]

STAGES = {
    "to the node": "DDS, and a Python message of it",
    "turn": "waiting for the worker's thread",
    "decode": "JPEG, or colours of a raw image",
    "resize": "to the model's size",
    "engine": "normalisation, network, label, uncertainty",
    "check": "of the engine's output",
    "resize back": "label and uncertainty to the camera's size",
    "message": "the label into a message",
    "publish": "DDS, until the reader has it",
    "between": "Python between these",
}
"""What a frame passes through on its way to the label, in this order, and what happens there."""
AFTER = "after the label"
"""Uncertainty, times, drift: the frame has left, and the node is busy with it still."""


class Work(NamedTuple):
    """What a stage cannot do without: bytes read and as many written at the least, and multiply-adds."""

    num_bytes: int = 0
    multiply_adds: int = 0


def stage_times_ms(answers: Sequence[Answer], spans: Sequence[Span]) -> dict[str, float]:
    """Return the median milliseconds of each stage, of AFTER, and of the whole as "all".

    answers: of images that were asked one at a time; spans: those of the node that answered, in any order.
    """
    ordered = sorted(spans, key=lambda span: span[1])
    ends_ns = [answer.publish_ns for answer in answers[1:]] + [max(span[2] for span in ordered) + 1]
    frames = [
        _frame_ms(answer, [span for span in ordered if answer.publish_ns <= span[1] < end_ns])
        for answer, end_ns in zip(answers, ends_ns, strict=True)
    ]
    return {stage: median(frame[stage] for frame in frames) for stage in (*STAGES, AFTER, "all")}


def _frame_ms(answer: Answer, spans: Sequence[Span]) -> dict[str, float]:
    """Return what one frame took in each stage."""
    began_ns = {stage: begin_ns for stage, begin_ns, _ in reversed(spans)}
    label_filled_ns = next(end_ns for stage, _, end_ns in spans if stage == "message")
    times_ns = dict.fromkeys(STAGES, 0)
    for stage, begin_ns, end_ns in spans:
        if stage in ("decode", "resize", "engine", "check", "resize back"):
            times_ns[stage] += end_ns - begin_ns
        elif stage == "message" and end_ns == label_filled_ns:
            times_ns[stage] = end_ns - begin_ns
    times_ns["to the node"] = began_ns["arrival"] - answer.publish_ns
    times_ns["turn"] = began_ns["turn"] - began_ns["arrival"]
    times_ns["publish"] = answer.receive_ns - label_filled_ns
    all_ns = answer.receive_ns - answer.publish_ns
    times_ns["between"] = all_ns - sum(times_ns.values())
    after_ns = max(end_ns for stage, _, end_ns in spans if stage in ("message", "extras")) - label_filled_ns
    return {stage: value / 1e6 for stage, value in {**times_ns, AFTER: after_ns, "all": all_ns}.items()}


def work_of(
    image_hw: tuple[int, int], model_hw: tuple[int, int], message_bytes: int, encoding: str, multiply_adds: int
) -> Mapping[str, Work]:
    """Say what each stage cannot do without: half of the bytes that it reads and writes, so that copying as many takes as long."""
    pixels, inputs = image_hw[0] * image_hw[1], model_hw[0] * model_hw[1]
    resized = image_hw != model_hw
    decoded = {"jpeg": (message_bytes + 3 * pixels) // 2, "rgb8": 3 * pixels, "bgr8": 0}[encoding]
    return {
        "to the node": Work(message_bytes),
        "decode": Work(decoded),
        "resize": Work((3 * pixels + 3 * inputs) // 2 if resized else 0),
        "engine": Work((3 * inputs + 2 * inputs) // 2, multiply_adds),
        "check": Work(inputs // 2),
        "resize back": Work((2 * inputs + 2 * pixels) // 2 if resized else 0),
        "message": Work(pixels),
        "publish": Work(pixels),
    }
