"""Take pictures of a replay's report for docs/replay.md: `python tools/picture_report.py out/now -o docs/images`.

Nothing in them is a time, which would be of the machine that took them. Needs playwright and a Chromium (`make browser`).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Locator, Page, sync_playwright

from lwseg_ros.host.files import write_atomically

WIDTH_PX, MARGIN_PX, JPEG_QUALITY = 1180, 4, 85
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")


def boxed(page: Page, *parts: Locator) -> np.ndarray:
    """Take a picture of what lies between the first and the last part of a page, uint8 BGR."""
    boxes = [box for part in parts if (box := part.bounding_box()) is not None]
    left, top = (min(box[side] for box in boxes) - MARGIN_PX for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN_PX
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN_PX
    clip = {"x": max(left, 0), "y": max(top, 0), "width": right - max(left, 0), "height": bottom - max(top, 0)}
    png = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def pictures(page: Page) -> dict[str, np.ndarray]:
    """Take all pictures of an open report."""

    def section(title: str) -> Locator:
        return page.locator("section", has=page.locator(f"h2:text-is('{title}')"))

    compared = section("Compared").locator("table").first
    return {
        "replay_verdict": boxed(page, page.locator("header"), page.locator(".banner").first, page.locator(".steps")),
        "replay_frame": boxed(page, section("Frames").locator("article").first),
        "replay_classes": boxed(page, section("Classes").locator("table")),
        "replay_compared": boxed(page, compared),
    }


def main() -> int:
    """Open the report and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="folder of a report, made with --against")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": 900}, color_scheme="light")
        page.goto((args.report / "report.html").resolve().as_uri())
        taken = pictures(page)
        browser.close()
    for name, picture in taken.items():
        ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not ok:
            raise RuntimeError(f"{name} cannot be compressed")
        write_atomically(args.output / f"{name}.jpg", data.tobytes())
        print(f"{name}.jpg: {picture.shape[1]} x {picture.shape[0]}, {len(data) / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
