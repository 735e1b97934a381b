"""What is asked of a replay's figures, such as `miou>=0.6` or `dropped<=1%`, and whether they meet it."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lwseg_ros.errors import UsageError

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_FORM = re.compile(
    r"\s*(?P<name>[^<>=%]+?)\s*(?P<compare>>=|<=|>|<)\s*(?P<bound>[-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(?P<percent>%?)\s*"
)

SHARE, MILLISECONDS, NUMBER = "share", "ms", "number"
# Every figure of `report.json` that can be required, by dotted path, and its unit; `*` stands for a class. The unit of a count
# of messages is the path of the count that a percentage is of.
FIGURES: dict[str, str] = {
    "miou": SHARE,
    "miou_present": SHARE,
    "pixel_accuracy": SHARE,
    "temporal_consistency": SHARE,
    "per_class_iou.*": SHARE,
    "per_class_precision.*": SHARE,
    "per_class_recall.*": SHARE,
    "boundary_iou.mean": SHARE,
    "boundary_iou.per_class.*": SHARE,
    **{
        f"intervals.{name}.{end}": SHARE
        for name in ("miou", "pixel_accuracy", "per_class_iou.*")
        for end in ("low", "high")
    },
    **{f"uncertainty.{name}": SHARE for name in ("ece", "auroc", "aurc", "aupr_error", "aupr_success", "fpr95")},
    **{f"uncertainty.{name}": NUMBER for name in ("nll", "brier")},
    "uncertainty.per_class_ece.*": SHARE,
    **{f"accepted.{name}": SHARE for name in ("share", "error_rate", "level")},
    **{f"accepted.per_class.*.{name}": SHARE for name in ("share", "error_rate")},
    **{f"latency_ms.{name}": MILLISECONDS for name in ("p50", "p95", "p99", "max")},
    **{f"engine_ms.{name}": MILLISECONDS for name in ("p50", "p95")},
    "rate_hz": NUMBER,
    "engine_hz": NUMBER,
    **{f"frames.{name}": "frames.published" for name in ("published", "segmented", "dropped", "bad")},
    **{f"truth.{name}": "frames.published" for name in ("matched", "judged")},
    **{f"truth.{name}": "truth.messages" for name in ("messages", "unmatched", "ambiguous")},
    "truth.pixels": NUMBER,
    **{
        f"against.differences.{name}.{end}": SHARE
        for name in ("miou", "pixel_accuracy", "per_class_iou.*")
        for end in ("difference", "low", "high")
    },
}
SHORT = {
    "iou": "per_class_iou",
    "precision": "per_class_precision",
    "recall": "per_class_recall",
    "latency": "latency_ms",
    "engine": "engine_ms",
    "rate": "rate_hz",
    **{name: f"frames.{name}" for name in ("published", "segmented", "dropped", "bad")},
    **{name: f"truth.{name}" for name in ("matched", "judged", "unmatched", "ambiguous")},
    **{
        name: f"uncertainty.{name}"
        for name in ("ece", "auroc", "aurc", "aupr_error", "aupr_success", "fpr95", "nll", "brier")
    },
    "accepted": "accepted.share",
}
"""What may be written for the beginning of a path."""
_ENDS = {"low": 0, "high": 1}


class RequirementError(UsageError):
    """A requirement cannot be read, or no figure has its name."""


@dataclass(frozen=True)
class Requirement:
    """One bound on one figure.

    Attributes:
        text: as it was written.
        figure: dotted path into the figures, such as `per_class_iou.pedestrian`.
        compare: one of >=, <=, >, <.
        bound: in the figure's unit; of a count in percent, the share from 0 to 1.
        whole: dotted path of the count that a percentage is of; None where the figure itself is compared.
    """

    text: str
    figure: str
    compare: str
    bound: float
    whole: str | None = None

    @property
    def is_of_comparison(self) -> bool:
        """Whether it is about the difference from another run."""
        return self.figure.startswith("against.")


@dataclass(frozen=True)
class Outcome:
    """A requirement and what the figures say to it; value is None where it was not measured.

    is_partial: the figures are of a part of what was to be replayed, and so meet nothing.
    """

    requirement: Requirement
    value: float | None
    met: bool
    is_partial: bool = False

    @property
    def said(self) -> str:
        """Say the outcome in a few words."""
        shown = _shown(self.requirement.bound, self.requirement)
        value = None if self.value is None else _shown(self.value, self.requirement)
        if value == shown and self.value != self.requirement.bound:  # they differ beyond the digits that are usual
            shown, value = f"{self.requirement.bound:.10g}", f"{self.value:.10g}"
        bound = f"{self.requirement.compare} {shown}"
        if value is None:
            return f"not measured, so it is not known to be {bound}"
        if self.is_partial:
            return f"{value}, but the replay is partial, so it is not known to be {bound}"
        return f"{value} is {'' if self.met else 'not '}{bound}"

    def as_json(self) -> dict[str, Any]:
        """Return what `report.json` holds of it."""
        return {
            "requirement": self.requirement.text,
            "figure": self.requirement.figure,
            "value": self.value,
            "bound": self.requirement.bound,
            "met": self.met,
            "said": self.said,
        }


def parse(text: str) -> Requirement:
    """Read a requirement: a figure's name, one of >=, <=, >, <, and a number, of shares and counts in percent too.

    Names are dotted paths into `report.json`, or the shorter ones of SHORT. Whether there is a class of the name is for
    `check` to say.

    Raises:
        RequirementError: it has another form, no figure is called so, the figure has no percentage, or no figure of the kind can
            be as great or as small as the bound, so that it would be met, or missed, whatever is measured.
    """
    found = _FORM.fullmatch(text)
    bound = _number(found["bound"], bool(found["percent"])) if found else None
    if found is None or bound is None:
        raise RequirementError(
            f"{text!r} is no requirement; write a figure, one of >=, <=, >, <, and a number: 'miou>=0.6', 'dropped<=1%'"
        )
    head, dot, rest = found["name"].partition(".")
    candidates = found["name"], SHORT.get(head, head) + dot + rest
    figure = next((name for name in candidates if _pattern(name) in FIGURES), None)
    if figure is None:
        names = [*FIGURES, *SHORT]
        near = difflib.get_close_matches(found["name"], names, 3, 0.5) or ["miou", "iou.CLASS", "latency.p99"]
        raise RequirementError(
            f"no figure is called {found['name']!r} in {text!r}; there are, for one, {', '.join(near)}"
        )
    unit = FIGURES[_pattern(figure)]
    if found["percent"] and unit in (MILLISECONDS, NUMBER):
        raise RequirementError(f"{text!r}: {figure} is no share and no count of frames; write the bound without %")
    is_share = unit == SHARE or bool(found["percent"])
    least, most = -1.0 if figure.startswith("against.") else 0.0, 1.0 if is_share else math.inf
    if not least <= bound <= most:
        kind = f"a share, {least:g} to 1 or {least * 100:g} % to 100 %" if is_share else "at least 0"
        raise RequirementError(f"{text!r}: {figure} is {kind}; write a bound of that range")
    return Requirement(
        text.strip(), figure, found["compare"], bound, unit if found["percent"] and unit != SHARE else None
    )


def check(requirements: Sequence[Requirement], class_names: Collection[str], *, is_compared: bool = True) -> None:
    """Check requirements against a run that is to come, before anything runs.

    Raises:
        RequirementError: one is of a class that is not among `class_names`, or of a comparison where there is none.
    """
    for requirement in requirements:
        pattern = _pattern(requirement.figure)
        before, star, after = pattern.partition("*")
        name = requirement.figure.removeprefix(before).removesuffix(after)
        if star and name not in class_names:
            raise RequirementError(
                f"the model has no class {name!r}, which {requirement.text!r} is about; it has {', '.join(class_names)}"
            )
        if requirement.is_of_comparison and not is_compared:
            raise RequirementError(f"{requirement.text!r} is about a comparison; name the other run with --against")


def judge(requirements: Sequence[Requirement], figures: Mapping[str, Any]) -> list[Outcome]:
    """Compare the figures of `report.json` with what is required of them.

    What was not measured does not meet anything, and neither does what was measured on a part alone, since the rest may be worse.
    Without a topic of ground truth its counts are zeros that measure nothing.
    """
    outcomes, is_partial = [], bool(figures.get("partial"))
    if figures.get("truth", {}).get("topic", "") is None:
        figures = {**figures, "truth": None}
    for requirement in requirements:
        value = _look_up(figures, requirement.figure)
        if requirement.whole is not None:
            whole = _look_up(figures, requirement.whole)
            value = value / whole if value is not None and whole else None
        met = value is not None and bool(_COMPARE[requirement.compare](value, requirement.bound))
        outcomes.append(Outcome(requirement, value, met and not is_partial, is_partial))
    return outcomes


def verdict(outcomes: Sequence[Outcome]) -> str | None:
    """Return `met`, `not met`, or None where nothing was required."""
    return ("met" if all(outcome.met for outcome in outcomes) else "not met") if outcomes else None


def _number(text: str, is_percent: bool) -> float | None:
    """Read a finite number, rounded once: 0.7 % is the float nearest to 0.007, as is 7 of 1000 frames. None for what is none."""
    try:
        value = float(Decimal(text) / 100 if is_percent else Decimal(text))
    except (ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _pattern(figure: str) -> str:
    """Return the key of FIGURES that a path falls under, or the path itself."""
    for pattern in FIGURES:
        before, star, after = pattern.partition("*")
        if star and figure.startswith(before) and figure.endswith(after) and len(figure) > len(before) + len(after):
            return pattern
    return figure


def _look_up(figures: Mapping[str, Any], path: str) -> float | None:
    """Follow a dotted path, whose last part but `low` or `high` may hold dots itself; None where there is no number."""
    value: Any = figures
    while path:
        if isinstance(value, Mapping):
            # the longest key that fits, since a class may be called `a.b`
            key = max((key for key in value if path == key or path.startswith(f"{key}.")), key=len, default=None)
            if key is None:
                return None
            value, path = value[key], path[len(key) + 1 :]
        elif isinstance(value, Sequence) and len(value) == 2 and path in _ENDS:
            value, path = value[_ENDS[path]], ""
        else:
            return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def _shown(value: float, requirement: Requirement) -> str:
    if requirement.whole is not None:
        return f"{value * 100:.4g} %"
    unit = FIGURES[_pattern(requirement.figure)]
    return f"{value:.4g} ms" if unit == MILLISECONDS else f"{value:.4f}" if unit == SHARE else f"{value:.10g}"
