"""The verdict as JUnit XML, which continuous integration shows as tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from lwseg_ros.host.terminal import visible
from lwseg_ros.replay.requirements import Outcome


def junit_xml(outcomes: Sequence[Outcome], suite: str, model: str) -> bytes:
    """Write one test case a requirement, failed where it is not met; suite and model name what was replayed.

    Control characters, such as those in the name of a file, for which XML has no place, are made visible.
    """
    failed = sum(not outcome.met for outcome in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", counts)
    element = ElementTree.SubElement(root, "testsuite", {"name": suite, **counts})
    for outcome in outcomes:
        case = ElementTree.SubElement(
            element, "testcase", {"classname": f"lwseg.replay.{model}", "name": outcome.requirement.text, "time": "0"}
        )
        if not outcome.met:
            kind = "not measured" if outcome.value is None else "not met"
            text = f"{outcome.requirement.figure}: {outcome.said}"
            ElementTree.SubElement(case, "failure", {"type": kind, "message": text}).text = text
    for element in root.iter():
        element.attrib = {name: visible(value) for name, value in element.attrib.items()}
        element.text = element.text and visible(element.text)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
