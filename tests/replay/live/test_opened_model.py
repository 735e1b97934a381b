"""Which file a live replay's figures are of."""

from __future__ import annotations

from pathlib import Path

from support.conversions import copied, write_conversion

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.live.opened_model import opened_model


def test_it_is_the_one_that_the_node_opened(tiny_model: ModelFile, tmp_path: Path) -> None:
    parent = copied(tiny_model, tmp_path)
    converted = write_conversion(parent, "int8")
    said = {"model": str(converted.path), "model_sha256": converted.sha256}
    assert opened_model(parent, said).sha256 == converted.sha256
    assert opened_model(parent, {"model": str(parent.path), "model_sha256": parent.sha256}) is parent
    assert opened_model(parent, {}) is parent
