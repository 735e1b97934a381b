"""Write the report of a replay into its folder."""

from __future__ import annotations

import json
from pathlib import Path

from lwseg_ros.errors import LwsegError
from lwseg_ros.host.files import write_atomically
from lwseg_ros.replay.junit import junit_xml
from lwseg_ros.replay.report.document import Report
from lwseg_ros.replay.report.page import render
from lwseg_ros.replay.rows import frames_csv
from lwseg_ros.replay.run_folder import pack_rows


def write_report(report: Report, folder: Path, junit: Path | None = None) -> Path:
    """Write a replay's files into the folder, which is made where it is missing, and return the path of the page.

    `report.html` is for people, `report.json` and `frames.csv` for programs, `rows.npz` for comparisons to come, `junit.xml`,
    where something was required, for continuous integration; `junit` is another place for that one. A `junit.xml` of an earlier run
    is removed.

    Raises:
        LwsegError: the folder cannot be written.
    """
    rows = report.result.rows
    files = {
        "frames.csv": frames_csv(rows).encode(),
        "rows.npz": pack_rows(rows),
        "report.json": (json.dumps(report.figures, indent=2) + "\n").encode(),
        "report.html": render(report).encode(errors="replace"),  # names of files may be no UTF-8
    }
    if report.outcomes:
        files["junit.xml"] = junit_xml(report.outcomes, f"replay of {report.result.source}", report.figures["model"])
    places = {name: folder / name for name in files}
    if report.outcomes and junit:
        places["junit.xml"] = junit
    try:
        for name, data in files.items():
            places[name].parent.mkdir(parents=True, exist_ok=True)
            write_atomically(places[name], data)
        if places.get("junit.xml") != folder / "junit.xml":
            (folder / "junit.xml").unlink(missing_ok=True)  # an earlier run's would be taken for this one's
    except OSError as error:
        raise LwsegError(f"cannot write {places[name]}: {error.strerror}; choose another place") from error
    return folder / "report.html"
