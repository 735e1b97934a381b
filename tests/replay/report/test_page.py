"""The page in a browser: nothing is fetched, nothing complains, and what is clicked does what it should."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.bag_files import painted_messages, write_messages
from support.browser import chromium

from lwseg_ros.model.model_file import ModelFile
from lwseg_ros.replay.offline import replay_offline
from lwseg_ros.replay.report.document import describe
from lwseg_ros.replay.report.report import write_report
from lwseg_ros.replay.requirements import parse
from lwseg_ros.replay.results import ReplayResult
from lwseg_ros.replay.rows import FrameRow
from lwseg_ros.replay.run_folder import read_run
from lwseg_ros.segmenter import Segmenter

MANY = 30_000
PATIENCE_MS = 20_000  # what is waited for comes, however busy the machine is
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, tiny_model: ModelFile) -> ReplayResult:
    bag = write_messages(tmp_path_factory.mktemp("page") / "bag", painted_messages(12))
    with Segmenter.open(tiny_model.path, "onnxruntime") as segmenter:
        return replay_offline(bag, segmenter, num_kept=3, num_extreme=2)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, result: ReplayResult) -> Path:
    """The report of 12 frames, compared and judged."""
    folder = tmp_path_factory.mktemp("reports")
    write_report(describe(result), folder / "base")
    requirements = [parse("miou>=0.5"), parse("against.differences.miou.low>=0"), parse("latency.p99<=80")]
    return write_report(describe(result, requirements, read_run(folder / "base")), folder / "run")


@pytest.fixture(scope="module")
def long_report(tmp_path_factory: pytest.TempPathFactory, result: ReplayResult) -> Path:
    """A report of 30,000 frames."""
    rows = tuple(
        FrameRow(index, index * 66_666_667, 40.0 + index % 7, None, 0.9, 0.7, index % 100 / 1000, None)
        if index % 5000
        else FrameRow(index, index * 66_666_667, cause="no label")
        for index in range(MANY)
    )
    kept = tuple(replace(frame, row=replace(frame.row, index=frame.index * 1000)) for frame in result.kept)
    return write_report(describe(replace(result, rows=rows, kept=kept)), tmp_path_factory.mktemp("long"))


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What pages that `opened` opens say or fetch; there must be nothing in the end."""
    said: list[str] = []
    yield said
    assert said == []


def opened(browser: Browser, path: Path, complaints: list[str], *, width: int = 1440, dark: bool = False) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((path.as_uri(), "data:")) else complaints.append(request.url),
    )
    page.goto(path.as_uri())
    return page


def overflow(page: Page) -> int:
    """How many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


@pytest.mark.parametrize(("width", "dark"), [(390, False), (820, True), (1440, False)])
def test_it_fits_every_width(browser: Browser, report: Path, complaints: list[str], width: int, dark: bool) -> None:
    page = opened(browser, report, complaints, width=width, dark=dark)
    assert overflow(page) <= 0
    # texts keep their size where charts shrink
    sizes = page.locator(".plot span").evaluate_all("each => each.map(e => parseFloat(getComputedStyle(e).fontSize))")
    assert min(sizes) >= 11
    folder = os.environ.get("LWSEG_SCREENSHOTS")  # to look at them
    if folder:
        page.screenshot(path=Path(folder) / f"report_{width}.png", full_page=True)
    page.close()


def test_dark_is_dark(browser: Browser, report: Path, complaints: list[str]) -> None:
    colors = []
    for dark in (False, True):
        page = opened(browser, report, complaints, dark=dark)
        colors.append(page.locator("body").evaluate("each => getComputedStyle(each).backgroundColor"))
        page.close()
    light, dark_one = (int(color.partition("(")[2].partition(",")[0]) for color in colors)
    assert light > 200
    assert dark_one < 50


def test_verdict_and_truth_are_seen_without_scrolling(browser: Browser, report: Path, complaints: list[str]) -> None:
    page = opened(browser, report, complaints)
    expect(page.locator(".banner.bad h2")).to_have_text("Not all requirements are met")
    expect(page.locator(".steps")).to_be_in_viewport()
    expect(page.locator("details")).not_to_have_attribute("open", "")
    page.close()


def test_a_click_on_the_timeline_shows_the_frame(
    browser: Browser, report: Path, result: ReplayResult, complaints: list[str]
) -> None:
    unkept = min(set(range(12)) - {frame.index for frame in result.kept})
    page = opened(browser, report, complaints)
    viewer = page.locator("#viewer")
    expect(viewer).to_be_hidden()
    plot = page.locator("[data-timeline] .plot").first
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] * 0.5 / 12, "y": 20})
    expect(viewer.locator("h2")).to_have_text("Frame 0, 0.00 s")
    expect(viewer.locator("article")).to_have_attribute("data-frame", "0")
    assert viewer.locator(".view").count() == 5
    for _ in range(unkept):
        page.locator("[data-timeline]").press("ArrowRight")
    expect(viewer.locator("h2")).to_have_text(f"Frame {unkept}, {unkept / 15:.2f} s")
    expect(viewer.locator(".note")).to_contain_text("No picture of it is kept.")
    page.close()


def test_tables_are_sorted_by_a_click(browser: Browser, report: Path, complaints: list[str]) -> None:
    page = opened(browser, report, complaints)
    table = page.locator("section", has=page.locator("h2", has_text="Classes")).locator("table")
    head = table.locator("th", has_text="IoU").first

    def column() -> list[float]:
        cells = table.locator("tbody tr td:nth-child(3)").all_text_contents()
        return [float(text.removesuffix(" %")) for text in cells if text != "not measured"]

    head.click()
    assert column() == sorted(column(), reverse=True)
    head.press("Enter")
    assert column() == sorted(column())
    expect(head).to_have_attribute("aria-sort", "ascending")
    page.close()


def test_the_image_shows_through_as_much_as_is_asked_for(browser: Browser, report: Path, complaints: list[str]) -> None:
    page = opened(browser, report, complaints)
    page.locator("#overlay").fill("0.2")
    label = page.locator("article .image:not(.heat):not(.errors) img").first
    assert label.evaluate("each => getComputedStyle(each).opacity") == "0.2"
    page.close()


def test_30000_frames_stay_readable_and_small(browser: Browser, long_report: Path, complaints: list[str]) -> None:
    assert long_report.stat().st_size < 8_000_000
    page = opened(browser, long_report, complaints, width=390)
    assert overflow(page) <= 0
    assert page.locator("svg *").count() < 200
    assert page.locator(".plot i").count() < 50
    plot = page.locator("[data-timeline] .plot").first
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] / 2, "y": 20})
    expect(page.locator("#viewer h2")).to_contain_text("Frame 1")  # 15,000 or so; 390 pixels cannot choose each
    expect(page.locator("#viewer .note")).to_contain_text("The nearest one")
    page.close()


def test_paper_is_light_and_without_controls(browser: Browser, report: Path, complaints: list[str]) -> None:
    page = opened(browser, report, complaints, dark=True)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("h1").evaluate("each => getComputedStyle(each).color") == "rgb(22, 27, 34)"
    expect(page.locator("#overlay")).to_be_hidden()
    assert page.pdf()[:5] == b"%PDF-"
    page.close()
