"""The report's two files: the JSON that scripts rely on, and an HTML that needs nothing but itself."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from support.bag_files import painted_messages, write_messages

from lwseg_ros.errors import LwsegError
from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.merging import merge_results
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.report.document import describe
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.requirements import FIGURES, parse
from lwseg_ros.replay.results import FrameCounts, ReplayResult
from lwseg_ros.replay.run_folder import read_run
from lwseg_ros.segmenter import Segmenter

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "report.schema.json").read_text())


class Checker(HTMLParser):
    """Collect what a browser would fetch, and check that tags close in order."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "data"):
                self.fetched.append(value or "")
        self.pictures += tag == "img"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, tiny_model: ModelFile) -> ReplayResult:
    """An offline replay of five frames, with latencies as if it had been live."""
    path = write_messages(tmp_path_factory.mktemp("report") / "bag", painted_messages(5))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        offline = replay_offline(path, segmenter, num_kept=3)
    latencies_ms = (30.0, 10.0, None, 20.0, 12.0)
    return replace(
        offline,
        latencies_ms=latencies_ms,
        rows=tuple(
            replace(row, latency_ms=latency, cause=None if latency else "no label")
            for row, latency in zip(offline.rows, latencies_ms, strict=True)
        ),
        counts=FrameCounts(5, 4, 1, 0, {"stale in the node": 1}),
        mode="live node, rate 1",
    )


def check_schema(figures: object) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(figures)


def test_json_is_as_the_schema_says(result: ReplayResult, tmp_path: Path) -> None:
    write_report(describe(result, [parse("miou>=0.5"), parse("dropped<=1%")]), tmp_path / "new" / "folder")
    written = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    check_schema(written)
    assert written["latency_ms"]["p50"] == 16.0
    rows = (tmp_path / "new" / "folder" / "frames.csv").read_text().splitlines()
    assert len(rows) == 1 + 5
    assert rows[1].startswith("0,1000000000,")
    assert written["latency_ms"]["max"] == 30.0
    assert written["model_sha256"] == result.model.sha256
    assert [bag["path"] for bag in written["bags"]] == [result.source]
    assert (written["verdict"], [outcome["met"] for outcome in written["requirements"]]) == ("not met", [True, False])
    assert written["frames"]["dropped_by_cause"] == {"stale in the node": 1}


def test_the_schema_refuses_what_it_does_not_know(result: ReplayResult) -> None:
    figures = describe(result).figures
    with pytest.raises(jsonschema.ValidationError, match="'mIoU' was unexpected"):
        check_schema(figures | {"mIoU": 1})
    with pytest.raises(jsonschema.ValidationError, match="is greater than the maximum"):
        check_schema(figures | {"miou": 60.0})


def test_every_figure_that_can_be_required_is_in_the_schema() -> None:
    for path in FIGURES:
        node = SCHEMA
        for name in path.split("."):
            if node.get("maxItems") == 2:
                assert name in ("low", "high")
                node = node["items"]
            else:
                node = node["additionalProperties"] if name == "*" else node["properties"][name]
        assert {"number", "integer"} & set(np.atleast_1d(node["type"]).tolist()), path


def test_html_is_one_file_that_fetches_nothing(result: ReplayResult, tmp_path: Path) -> None:
    page = write_report(describe(result), tmp_path)
    text = page.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.fetched
    assert all(source.startswith("data:") for source in checker.fetched)
    assert not re.search(r"https?://|url\((?!data:)|@import|<script[^>]* src", text)
    for expected in ("4 / 5", "1 dropped", "sign", "none: weights set by hand", result.model.sha256, "onnxruntime"):
        assert expected in text
    assert "1 stale in the node" in text
    assert f"{result.figures()['miou'] * 100:.1f} %" in text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["frames.csv", "report.html", "report.json", "rows.npz"]


def test_the_verdict_stands_on_top_and_in_junit_xml(result: ReplayResult, tmp_path: Path) -> None:
    report = describe(result, [parse("miou>=0.5"), parse("latency.p99<=20")])
    text = write_report(report, tmp_path, tmp_path / "ci" / "verdict.xml").read_text()
    assert report.figures["verdict"] == "not met"
    assert "29.7 ms is not &lt;= 20 ms" in text
    assert text.index("Not all requirements are met") < text.index("mean IoU")
    assert 'failures="1"' in (tmp_path / "ci" / "verdict.xml").read_text()
    assert not (tmp_path / "junit.xml").exists()
    accepted = describe(result, [parse("miou>=0.5")])
    assert accepted.figures["verdict"] != "not met"
    assert "All requirements are met" in write_report(accepted, tmp_path).read_text()
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()
    write_report(describe(result), tmp_path)
    assert not (tmp_path / "junit.xml").exists()  # of the run before, of which nothing else is left


def test_incomplete_truth_is_said_on_top(result: ReplayResult, tmp_path: Path) -> None:
    truth = replace(result.truth, judged=3)
    text = write_report(describe(replace(result, truth=truth)), tmp_path).read_text()
    said = "Only 3 of 5 images were judged (60.0%); the metrics are of these alone."
    assert text.index(said) < text.index("mean IoU")
    assert '<div class="steps bad">' in text


def test_a_run_is_compared_with_itself(result: ReplayResult, tmp_path: Path) -> None:
    write_report(describe(result), tmp_path / "base")
    report = describe(result, [parse("against.differences.miou.difference>=0")], read_run(tmp_path / "base"))
    check_schema(report.figures)
    assert report.figures["against"]["differences"]["miou"]["difference"] == 0
    assert report.figures["against"]["frames"] == {"run": 5, "base": 5}
    assert report.figures["verdict"] != "not met"
    assert "Frame by frame over the 5 frames that both judged" in write_report(report, tmp_path / "run").read_text()


def test_a_comparison_that_fails_costs_nothing_but_itself(result: ReplayResult, tmp_path: Path) -> None:
    write_report(describe(result), tmp_path / "base")
    rows = tuple(replace(row, pixel_accuracy=None, cells=None) for row in result.rows)
    unjudged = replace(result, rows=rows)
    report = describe(unjudged, [parse("against.differences.miou.low>=0")], read_run(tmp_path / "base"))
    check_schema(report.figures)
    assert report.figures["against"] is None
    assert report.figures["verdict"] == "not met"
    assert "Warning: not compared: " in write_report(report, tmp_path / "run").read_text()


def test_a_fallback_is_said_beside_its_latency(result: ReplayResult, tmp_path: Path) -> None:
    engine = replace(result.engine, fallback_reason="no NVIDIA driver")
    text = write_report(describe(replace(result, engine=engine)), tmp_path).read_text()
    card = text[text.index("latency, median") :]
    assert f"fallback to {engine.device}: no NVIDIA driver" in card[: card.index("</div>")]


def test_what_was_not_measured_is_said_and_texts_are_escaped(result: ReplayResult, tmp_path: Path) -> None:
    rows = tuple(replace(row, latency_ms=None, cause="</script><b>" if row.cause else None) for row in result.rows)
    unmeasured = replace(
        result, latencies_ms=(), inference_ms=(), rate_hz=float("nan"), label_topic=None, kept=(), rows=rows
    )
    text = write_report(describe(replace(unmeasured, image_topic="<script>topic</script>")), tmp_path).read_text()
    assert "not measured" in text
    assert "no ground truth" in text
    assert "latency, median" not in text
    assert "<h2>Frames</h2>" not in text
    assert "&lt;script&gt;topic" in text
    assert "</script><b>" not in text
    figures_read = json.loads((tmp_path / "report.json").read_text())
    assert figures_read["latency_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert figures_read["rate_hz"] is None


def test_what_was_left_out_of_the_bag_is_said(result: ReplayResult, tmp_path: Path) -> None:
    warned = replace(result, warnings=("bag.mcap has no end", "<b> was played as /_b_"))
    text = write_report(describe(warned), tmp_path).read_text()
    assert "Warning: bag.mcap has no end." in text
    assert "Warning: &lt;b&gt; was played as /_b_." in text
    assert json.loads((tmp_path / "report.json").read_text())["warnings"] == list(warned.warnings)


def test_a_report_of_several_bags(result: ReplayResult, tmp_path: Path) -> None:
    years = 10**17
    earlier = replace(result, rows=tuple(replace(row, stamp_ns=row.stamp_ns - years) for row in result.rows))
    merged = replace(merge_results([result, earlier], 3), partial=True)
    report = describe(merged, [parse("miou>=0")])
    check_schema(report.figures)
    assert len(report.figures["bags"]) == 2
    assert report.figures["verdict"] == "not met"
    text = write_report(report, tmp_path).read_text()
    found = re.search(r'id="rows"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert found is not None
    times_s = json.loads(found[1])["time_s"]
    assert times_s[:5] == times_s[5:]
    assert times_s[0] == 0.0
    assert "but the replay is partial" in text
    read = read_run(tmp_path)
    assert [(row.index, row.bag) for row in read.rows] == [(index, index // 5) for index in range(10)]


def test_a_report_that_cannot_be_written(result: ReplayResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LwsegError, match=r"cannot write .*file/frames.csv: .*; choose another place"):
        write_report(describe(result), tmp_path / "file")
