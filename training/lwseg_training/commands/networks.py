"""`lwseg networks`: what can be trained, and how large it is."""

from __future__ import annotations

import argparse
import json

from lwseg_ros.commands.arguments import parse_size_hw
from lwseg_training.networks import NETWORKS, build_network
from lwseg_training.networks.count import count_network

HELP = "List every registered network with its paper, trainable parameters and multiply-adds."
EXAMPLE = "lwseg networks --size 512x1024 --classes 19"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=parse_size_hw, default=(512, 1024), metavar="HxW", help="input size (default: 512x1024)"
    )
    parser.add_argument("--classes", type=int, default=19, help="number of classes (default: 19)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Build, count and print each network."""
    rows = []
    for name, entry in NETWORKS.items():
        options = {"size_hw": args.size} if entry.sized else {}
        count = count_network(build_network(name, args.classes, **options), args.size)
        rows.append(
            {
                "name": name,
                "paper": entry.paper,
                "parameters": count.parameters,
                "multiply_adds": count.multiply_adds,
                "size_hw": list(args.size),
                "classes": args.classes,
            }
        )
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'network':<17} {'parameters':>11} {'multiply-adds':>14}  paper")
    for row in rows:
        parameters, operations = row["parameters"] / 1e6, row["multiply_adds"] / 1e9
        print(f"{row['name']:<17} {parameters:>9.2f} M {operations:>12.2f} G  {row['paper']}")
    print(f"at {args.size[0]} x {args.size[1]} (height x width), {args.classes} classes")
    return 0
