"""The rounds that a driver asks for, one line of its own each: a number in, what they took out."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.peers.workload import TINY, Cnn, Workload

TICKS = os.sysconf("SC_CLK_TCK")


def workload() -> Workload:
    """Return the workload that the command line asks for."""
    given = argparse.ArgumentParser()
    given.add_argument("--tiny", action="store_true")
    given.add_argument("--clients", type=int, default=Workload.clients)
    given.add_argument("--cohort", type=int, default=Workload.cohort)
    options, _ = given.parse_known_args()
    return TINY if options.tiny else Workload(options.clients, options.cohort)


def rounds(
    version: str, processor_seconds: Callable[[], float] = time.process_time, counts: bool = True
) -> Iterator[int]:
    """Yield once for every round that is to be made; end when the driver does.

    Whatever else the process prints goes to standard error.

    Parameters
    ----------
    version : str
        Of the system.
    processor_seconds : callable
        Returns what it has used so far.
    counts : bool
        Whether the system trains `workload.Cnn` in this process, so that its steps can be counted.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"version": version}), file=answers)
    made = 0
    for line in sys.stdin:
        started, before, steps = time.perf_counter(), processor_seconds(), Cnn.steps
        for _ in range(int(line)):
            made += 1
            yield made
        answer = {
            "seconds": time.perf_counter() - started,
            "processor": processor_seconds() - before,
            "steps": Cnn.steps - steps if counts else None,
        }
        print(json.dumps(answer), file=answers)


def seconds_of_all() -> float:
    """Return the processor seconds of this process and of all that it has started, directly or not."""
    fields = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(")")
        except OSError:  # it has ended
            continue
        fields[int(path.parent.name)] = rest.split()
    children: dict[int, list[int]] = {}
    for process, values in fields.items():
        children.setdefault(int(values[1]), []).append(process)
    ticks, left = 0, [os.getpid()]
    while left:
        process = left.pop()
        ticks += sum(map(int, fields[process][11:15]))  # its own, and those of children that have ended
        left += children.get(process, [])
    return ticks / TICKS
