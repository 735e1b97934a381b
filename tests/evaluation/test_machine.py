"""What figures were measured on."""

from __future__ import annotations

import numpy as np

from lwseg_ros import __version__
from lwseg_ros.evaluation.machine import library_versions, machine


def test_the_machine_is_described() -> None:
    described = machine()
    assert described["cores"] >= 1
    assert described["processor"]
    assert described["lwseg_ros"] == __version__
    assert library_versions()["numpy"] == np.__version__
