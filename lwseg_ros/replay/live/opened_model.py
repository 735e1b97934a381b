"""Which of a model's files the node opened."""

from __future__ import annotations

from collections.abc import Mapping

from lwseg_ros.model.model_file import ModelFile, load_model


def opened_model(asked: ModelFile, diagnostics: Mapping[str, str]) -> ModelFile:
    """Return the file that the node says it opened: the one asked for, or a conversion beside it to another precision.

    diagnostics: by key, the latest values. Raises ModelFileError.
    """
    if diagnostics.get("model_sha256", asked.sha256) == asked.sha256:
        return asked
    return load_model(diagnostics["model"])
