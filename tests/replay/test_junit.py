"""The verdict as JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from lwseg_ros.replay.junit import junit_xml
from lwseg_ros.replay.requirements import judge, parse


def test_names_that_xml_has_no_place_for() -> None:
    outcomes = judge([parse("iou.a\x1bb>=0.6")], {"per_class_iou": {"a\x1bb": 0.5}})
    root = ElementTree.fromstring(junit_xml(outcomes, "bag\udcff\x07\n]]>", "\ufffem.onnx"))
    assert root[0].attrib["name"] == r"bag\udcff\x07\n]]>"
    assert root[0][0].attrib["classname"] == r"lwseg.replay.\ufffem.onnx"
    assert root[0][0].attrib["name"] == r"iou.a\x1bb>=0.6"
    assert root[0][0][0].text == r"per_class_iou.a\x1bb: 0.5000 is not >= 0.6000"


def test_a_test_case_a_requirement() -> None:
    figures = {"miou": 0.7, "frames": {"published": 10, "dropped": 1}}
    outcomes = judge([parse("miou>=0.6"), parse("dropped<=1%"), parse("latency.p99<80")], figures)
    root = ElementTree.fromstring(junit_xml(outcomes, "a <bag> & more", "model.onnx"))
    assert (root.tag, root.attrib["tests"], root.attrib["failures"]) == ("testsuites", "3", "2")
    suite = root[0]
    assert suite.attrib["name"] == "a <bag> & more"
    assert [case.attrib["name"] for case in suite] == ["miou>=0.6", "dropped<=1%", "latency.p99<80"]
    assert [[failure.attrib["type"] for failure in case] for case in suite] == [[], ["not met"], ["not measured"]]
    assert suite[1][0].text == "frames.dropped: 10 % is not <= 1 %"
