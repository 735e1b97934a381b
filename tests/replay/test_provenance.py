"""What a report is of."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.bag_files import painted_messages, write_messages

from lwseg_ros.errors import BagError
from lwseg_ros.replay.provenance import BagIdentity, identify_bag, versions


def test_a_bag_is_known_by_what_its_files_hold(tmp_path: Path) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1))
    file = bag / "bag.mcap"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    expected = BagIdentity(str(bag), file.stat().st_size, digest)
    assert identify_bag(bag) == expected
    assert identify_bag(file) == replace(expected, path=str(file))
    moved = Path(shutil.copytree(bag, tmp_path / "moved"))
    (moved / "metadata.yaml").write_text("")
    assert identify_bag(moved).sha256 == digest
    with pytest.raises(BagError, match="no bag at"):
        identify_bag(tmp_path / "nowhere")


def test_several_files_are_known_as_sha256sum_lists_them(tmp_path: Path) -> None:
    bag = write_messages(tmp_path / "bag", painted_messages(1))
    second = write_messages(tmp_path / "second", painted_messages(2))
    (bag / "metadata.yaml").unlink()
    shutil.copy(second / "second.mcap", bag)
    listed = subprocess.run(["sha256sum", "bag.mcap", "second.mcap"], cwd=bag, capture_output=True, check=True).stdout
    assert identify_bag(bag).sha256 == hashlib.sha256(listed).hexdigest()


def test_versions_name_what_takes_part() -> None:
    assert {"lwseg_ros", "python", "numpy", "rosbags"} <= versions().keys()
