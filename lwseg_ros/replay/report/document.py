"""`report.json`: the figures of a replay, what they are of, and what was required of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import machine
from lwseg_ros.replay.comparison import compare
from lwseg_ros.replay.provenance import versions
from lwseg_ros.replay.requirements import Outcome, Requirement, judge, verdict
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.replay.run_folder import SCHEMA, Run


@dataclass(frozen=True)
class Report:
    """A replay with everything that its report says.

    Attributes:
        figures: what `report.json` holds; docs/report.schema.json describes it.
        against: the run that it is compared with, or None.
        outcomes: of the requirements, in their order.
    """

    result: ReplayResult
    figures: dict[str, Any]
    against: Run | None
    outcomes: tuple[Outcome, ...]


def describe(result: ReplayResult, requirements: Sequence[Requirement] = (), against: Run | None = None) -> Report:
    """Collect the figures, say what they are of, compare them with another run, and judge them."""
    measured = result.figures()
    figures = {
        "schema": SCHEMA,
        "bags": [asdict(bag) for bag in result.bags],
        "topics": {"image": result.image_topic, "truth": result.label_topic},
        "mode": result.mode,
        "model": measured["model"],
        "model_sha256": result.model.sha256,
        "backend": measured["backend"],
        "precision": measured["precision"],
        "device": result.engine.device,
        "fallback_reason": result.engine.fallback_reason,
        **measured,
        "against": None,
        "verdict": None,
        "requirements": [],
        "machine": {name: value for name, value in machine().items() if name in ("processor", "cores", "system")},
        "versions": versions(),
    }
    if against is not None:
        try:
            figures["against"] = compare(Run(result.source, figures, result.rows), against)
        except LwsegError as error:  # which must not cost the replay
            result = replace(result, warnings=(*result.warnings, f"not compared: {error}"))
            figures["warnings"] = list(result.warnings)
    outcomes = tuple(judge(requirements, figures))
    figures["verdict"] = verdict(outcomes)
    figures["requirements"] = [outcome.as_json() for outcome in outcomes]
    return Report(result, figures, against, outcomes)
