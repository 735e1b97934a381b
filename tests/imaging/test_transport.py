"""Profiles for Fast DDS, read as it reads them: by their elements."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lwseg_ros.imaging import transport
from lwseg_ros.imaging.transport import affordable_segment_bytes, fastdds_profiles

NAMESPACE = {"": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
SHIPPED = Path(__file__).parents[2] / "config" / "fastdds.xml"


@pytest.mark.parametrize("interfaces", [[], ["127.0.0.1"], ["127.0.0.1", "10.0.0.7"]])
def test_the_default_profile_has_a_segment_and_interfaces(interfaces: list[str]) -> None:
    root = ElementTree.fromstring(fastdds_profiles(12345, interfaces=interfaces).encode())
    (participant,) = root.findall("participant", NAMESPACE)
    assert participant.get("is_default_profile") == "true"
    assert participant.findtext(".//useBuiltinTransports", None, NAMESPACE) == "false"
    used = [element.text for element in participant.findall(".//userTransports/transport_id", NAMESPACE)]
    descriptors = root.findall(".//transport_descriptor", NAMESPACE)
    assert used == [element.findtext("transport_id", None, NAMESPACE) for element in descriptors]
    assert [element.findtext("type", None, NAMESPACE) for element in descriptors] == ["SHM", "UDPv4"]
    assert descriptors[0].findtext("segment_size", None, NAMESPACE) == "12345"
    assert [element.text for element in descriptors[1].findall(".//address", NAMESPACE)] == interfaces
    assert bool(interfaces) == (descriptors[1].find("interfaceWhiteList", NAMESPACE) is not None)


def test_the_shipped_profile_is_one_of_these() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == fastdds_profiles(64 << 20)


@pytest.mark.parametrize(("wanted", "free", "given"), [(100, 8000, 100), (1000, 8000, 1000), (2000, 8000, 1000)])
def test_a_segment_takes_an_eighth_of_the_free_memory_at_most(
    wanted: int, free: int, given: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(transport.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(transport, "SHARED_MEMORY", tmp_path)
    assert affordable_segment_bytes(wanted) == given
    monkeypatch.setattr(transport, "SHARED_MEMORY", tmp_path / "none")
    assert affordable_segment_bytes(wanted) == wanted
