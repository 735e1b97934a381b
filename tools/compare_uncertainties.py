"""Print which kind of uncertainty finds errors best on what held-out runs had not seen, as docs/training.md has it.

python tools/compare_uncertainties.py runs/compare/dwrseg_b_camvid/* --data data/camvid --low-scale 0.5
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lwseg_training.experiments.uncertainties import compare_uncertainties, uncertainty_table


def main() -> None:
    """Read the options, evaluate, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs without a sequence each, or checkpoints")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--low-scale", type=float, help="compare the synergy of this low scale as well")
    arguments = parser.parse_args()
    print(uncertainty_table(compare_uncertainties(arguments.runs, arguments.data, arguments.low_scale)), end="")


if __name__ == "__main__":
    main()
