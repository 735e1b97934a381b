"""Where a data set comes from, on which terms, and what its images show: what a model that was trained on it inherits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """Facts about a data set, as its authors state them.

    title: what they call it. source: their publication, and where the files are. terms: of use.
    shows: what was filmed, where and when. lacks: what a vehicle meets and no image shows; both empty where nobody looked.
    caution: what to know before figures on its splits are believed.
    """

    title: str
    source: str
    terms: str
    shows: str = ""
    lacks: str = ""
    caution: str = ""
