#!/usr/bin/env python
"""Run one federated experiment in this process, or on Ray.

python run_simulation.py [EXPERIMENT.toml] [--set key=value ...] [--runtime sequential|ray]
                         [--run-dir DIR] [--resume]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import ClientFailureError, UserError


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Run one federated experiment.", allow_abbrev=False)
    parser.add_argument("experiment", nargs="?", type=Path, help="TOML file of overrides (see experiments/)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")
    parser.add_argument("--runtime", choices=["sequential", "ray"], help="short for --set runtime.name=...")
    parser.add_argument("--run-dir", metavar="DIR", help="run directory (default: a new one below runs/)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --run-dir")
    parser.add_argument("--replay", metavar="DIR", type=Path, help="run one failed client job again, alone")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0 done, 1 failed, 2 wrong input, 130 stopped and resumable."""
    options = parse_arguments(arguments)
    try:
        if options.replay:
            from runtimes.replay import replay

            return replay(options.replay)
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
