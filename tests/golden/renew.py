"""Write the kept curves from the runs of this checkout, or measure how far rounding moves them.

python -m tests.golden.renew [NAME ...]             write tests/golden/NAME.csv, all by default
python -m tests.golden.renew --spread [NAME ...]    print the largest deviations; write nothing
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch

from common.records import to_record, to_tensors
from common.sections import Value
from server.evaluation import CentralEvaluation
from tests.golden.runs import COUNTED, LEARNING_RATE, RUNS, curve, golden, learning_rate

DRAWS = 2
RELATIVE_CHANGE = 1e-6


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.renew", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--spread", action="store_true", help="measure instead of writing")
    options = parser.parse_args()
    if unknown := sorted({*options.names} - {*RUNS}):
        print(f"error: there is no run '{unknown[0]}' (available: {', '.join(RUNS)})", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    for name in options.names or RUNS:
        if options.spread:
            print(f"{name}: {spread(name)}", flush=True)
            continue
        quiet(name).to_csv(golden(name))
        print(golden(name))
    return 0


def spread(name: str) -> str:
    """Return the largest deviations by changed weights and without oneDNN, and by a wrong rate."""
    kept = quiet(name)
    others = []
    for draw in range(DRAWS):
        with changed_weights(draw):
            others.append(quiet(name))
    with torch.backends.mkldnn.flags(enabled=False):
        others.append(quiet(name))
    wrong = quiet(name, **{LEARNING_RATE: 1.1 * learning_rate(name)})
    rounding = [max(values) for values in zip(*(deviation(kept, other) for other in others), strict=True)]
    texts = (f"{counted:.4f}, {other:.1e}" for counted, other in (rounding, deviation(kept, wrong)))
    return "; learning rate + 10 %: ".join(texts)


def deviation(kept: pd.DataFrame, found: pd.DataFrame) -> tuple[float, float]:
    """Return the largest deviation of what is counted, absolute, and of anything else, relative."""
    difference = (found - kept).abs()
    counted = [column for column in kept if any(word in column for word in COUNTED)]
    relative = (difference / kept.abs()).drop(columns=counted)
    return float(difference[counted].max().max()), float(relative.max().max())


def quiet(name: str, **changes: Value) -> pd.DataFrame:
    """Run without a word."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        return curve(name, Path(folder) / "run", **changes)


@contextlib.contextmanager
def changed_weights(draw: int) -> Iterator[None]:
    """Change every initial weight by a normal draw times ``RELATIVE_CHANGE`` of itself."""
    original = CentralEvaluation.initial_arrays
    generator = torch.Generator().manual_seed(draw)

    def changed(*arguments: Any) -> Any:
        tensors = to_tensors(original(*arguments))
        return to_record(
            {
                name: value * (1 + RELATIVE_CHANGE * torch.randn(value.shape, generator=generator))
                if value.is_floating_point()
                else value
                for name, value in tensors.items()
            }
        )

    with mock.patch.object(CentralEvaluation, "initial_arrays", changed):
        yield


if __name__ == "__main__":
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    sys.exit(main())
