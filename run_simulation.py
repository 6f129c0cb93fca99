#!/usr/bin/env python
"""Run one federated experiment, or a sweep of them, in this process or on Ray.

python run_simulation.py [EXPERIMENT.toml] [--set key=value ...] [--runtime sequential|ray]
                         [--plugins DIR] [--run-dir DIR] [--resume] [--comparators] [--rounds-scale FACTOR]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import ClientFailureError, UserError

_COMMANDS = ("realign", "replay")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Run one federated experiment, or a sweep of them.", allow_abbrev=False
    )
    parser.add_argument("experiment", nargs="?", type=Path, help="TOML file of overrides (see experiments/)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
    parser.add_argument(
        "--plugins", action="append", default=[], metavar="DIR", help="folder of your own code"
    )
    parser.add_argument("--runtime", choices=["sequential", "ray"], help="short for --set runtime.name=...")
    parser.add_argument("--run-dir", metavar="DIR", help="run directory (default: a new one below runs/)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --run-dir")
    parser.add_argument("--rounds-scale", metavar="FACTOR", type=float, help="take FACTOR times the rounds")
    parser.add_argument("--seeds", metavar="SEED[,SEED]", default="", help="run everything once per seed")
    comparators = parser.add_mutually_exclusive_group()
    comparators.add_argument("--comparators", action="store_true", help="add the ceiling and the floor")
    comparators.add_argument("--comparator", metavar="NAME", help="run centralized or local-only instead")
    parser.add_argument("--only", action="append", default=[], metavar="LABEL[,...]", help="some of its runs")
    parser.add_argument("--list", action="store_true", help="list the runs of a sweep")
    for name in _COMMANDS:
        parser.add_argument(f"--{name}", nargs="?", const="DIR", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0 done, 1 failed, 2 wrong input, 130 stopped and resumable."""
    options = parse_arguments(arguments)
    try:
        for name in _COMMANDS:
            if directory := getattr(options, name):
                raise UserError(f"--{name} is a command of its own: python -m runtimes.{name} {directory}")
        from runtimes.launch import launch

        return launch(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ClientFailureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}; what was committed is kept: go on with --resume", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
