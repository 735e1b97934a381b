"""The network that CONTRIBUTING.md shows: one file, and the contract suite finds nothing to complain of."""

from __future__ import annotations

from pathlib import Path

from support.contributed import ROOT, add_shown_file, run_in

CHECKS = f"""
import sys
sys.path.append({str(ROOT / "tests")!r})
from functools import partial
from lwseg_training.networks import build_network
from support import network_contract as contract
build = partial(build_network, "toy")
contract.has_logits_of_the_inputs_size(build, (97, 131))
contract.has_a_gradient_in_every_parameter(build)
contract.follows_the_seed(build)
contract.learns(contract.overfit(build))
"""


def test_the_network_is_found_listed_and_keeps_the_contract(tmp_path: Path) -> None:
    add_shown_file(tmp_path, "training/lwseg_training/networks/toy.py")
    listed = run_in(tmp_path, "-m", "lwseg_ros.cli", "networks", "--size", "64x96", "--classes", "5")
    assert any(line.split()[:1] == ["toy"] for line in listed.splitlines())
    run_in(tmp_path, "-c", CHECKS)
