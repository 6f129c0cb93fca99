"""One FedAvg workload in Flowerbed, in a bare loop, and in other systems that are installed, in one run.

The workload is that of pfl-research's CIFAR-10 benchmark (``benchmarks/peers/workload.py``), in float32 on
one thread. All contenders are started, and then make rounds in turns, so that what else the machine does
meets all of them. A figure is the median of the turns after the first, with the least and the most. Processor
time is that of all processes of a contender. One that makes another number of steps is an error.

Each of the others may have a Python of its own, in which it is installed: ``--python pfl=FOLDER/bin/python``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import parser, show
from benchmarks.peers.workload import TINY, Workload

ROOT = Path(__file__).parent.parent
PEERS = {  # the module that a contender needs, and where it is from
    "flowerbed": ("torch", ""),
    "bare_loop": ("torch", ""),
    "flower": ("ray", "flwr[simulation]"),
    "pfl": ("pfl", "pfl[pytorch]"),
    "blazefl": ("blazefl", "blazefl[contrib,reproducibility], with Python 3.14"),
    "fluke": ("fluke", "fluke-fl"),
}
CONTENDERS: dict[str, tuple[str, ...]] = {  # what is shown → a program and its options
    "Flowerbed": ("flowerbed",),
    "Flowerbed, local.channels-last": ("flowerbed", "--channels-last"),
    "bare loop": ("bare_loop",),
    "pfl-research": ("pfl",),
    "BlazeFL": ("blazefl",),
    "fluke": ("fluke",),
    "Flower's simulator, one Ray worker": ("flower",),
}
FIRST = "Flowerbed"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Contender:
    """A program that waits for turns.

    Parameters
    ----------
    program : sequence of str
        Its name below ``benchmarks.peers``, and options.
    python : str
        The interpreter.
    steps : int
        Optimiser steps that a round has.
    folder : Path
        For what it prints.
    """

    def __init__(self, program: Sequence[str], python: str, steps: int, folder: Path) -> None:
        self._steps, self._log = steps, folder / f"{program[0]}-{len(list(folder.iterdir()))}.log"
        name, *options = program
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, "-m", f"benchmarks.peers.{name}", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": str(ROOT)},
            )
        self.version = str(self._answer()["version"])

    def turn(self, rounds: int) -> tuple[float, float]:
        """Have some rounds made; return seconds and processor seconds of one."""
        assert self._process.stdin is not None
        print(rounds, file=self._process.stdin, flush=True)
        answer = self._answer()
        if answer["steps"] not in (None, rounds * self._steps):
            raise SystemExit(
                f"{self._log.stem} made {answer['steps']} steps instead of {rounds * self._steps}"
            )
        return float(answer["seconds"]) / rounds, float(answer["processor"]) / rounds

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, float | str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(errors="replace").strip().splitlines()[-15:]
            raise SystemExit("\n".join([f"{self._log.stem} ended by itself:", *last]))
        answer: dict[str, float | str] = json.loads(line)
        return answer


def is_installed(python: str, module: str) -> bool:
    """Return whether an interpreter finds a module."""
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-P", "-c", found], check=False).returncode == 0


def present(names: Sequence[str], pythons: dict[str, str]) -> list[str]:
    """Return the contenders whose systems are installed; say how to install the others, a line each."""
    kept = []
    for name in names:
        program = CONTENDERS[name][0]
        module, package = PEERS[program]
        if is_installed(pythons.get(program, sys.executable), module):
            kept.append(name)
        else:
            print(
                f"{name} is left out: pip install '{package}', in an environment of its own if it does not go"
                f" with this one, and give that one's interpreter: --python {program}=FOLDER/bin/python"
            )
    return kept


def measure(
    contenders: dict[str, Contender], turns: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Let all make rounds in turns; return (seconds, processor seconds) of a round after the first turn."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, contender in contenders.items():
            result = contender.turn(rounds)
            if turn:
                taken[name].append(result)
    return taken


def table(taken: dict[str, list[tuple[float, float]]], versions: dict[str, str]) -> list[tuple[object, ...]]:
    """Return rows: contender, version, wall and processor milliseconds with spread, Flowerbed's share."""
    rows: list[tuple[object, ...]] = []
    for name, results in taken.items():
        pairs = zip(taken[FIRST], results, strict=True)
        ratio = statistics.median(ours[1] / theirs[1] for ours, theirs in pairs)
        wall, processor = zip(*results, strict=True)
        rows.append((name, versions[name], _spread(wall), _spread(processor), f"{ratio:.2f}"))
    return rows


def _spread(seconds: Sequence[float]) -> str:
    low, middle, high = (f"{1000 * f(seconds):.0f}" for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def _pair(text: str) -> tuple[str, str]:
    name, separator, python = text.partition("=")
    if name not in PEERS or not separator or not Path(python).exists():
        raise argparse.ArgumentTypeError(
            f"'{text}' is not NAME=INTERPRETER, with NAME one of {', '.join(PEERS)} and a file that is there"
        )
    return name, python


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--turns", type=int, default=4, help="turns of each contender")
    made.add_argument("--rounds", type=int, default=1, help="rounds per turn")
    made.add_argument("--clients", type=int, default=Workload.clients, help="number of clients")
    made.add_argument("--cohort", type=int, default=Workload.cohort, help="clients in a round")
    text = "the Python in which a contender is installed; repeatable"
    made.add_argument(
        "--python", type=_pair, action="append", default=[], metavar="NAME=INTERPRETER", help=text
    )
    others = list(CONTENDERS)[1:]
    text = f"contenders to leave out, of {', '.join(others)}"
    made.add_argument("--without", nargs="*", default=[], choices=others, metavar="CONTENDER", help=text)
    options = made.parse_args(arguments)
    asked = TINY if options.tiny else Workload(options.clients, options.cohort)
    names = [name for name in CONTENDERS if name not in options.without]
    if options.tiny:  # the others take longer to start than all the rest of the tests
        names, options.turns = [FIRST, "bare loop"], 1
    pythons = dict(options.python)
    sizes = ["--tiny"] if options.tiny else [f"--clients={asked.clients}", f"--cohort={asked.cohort}"]
    contenders: dict[str, Contender] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        try:
            for name in present(names, pythons):
                program = CONTENDERS[name]
                python = pythons.get(program[0], sys.executable)
                contenders[name] = Contender([*program, *sizes], python, asked.steps, Path(folder))
            taken = measure(contenders, options.turns, options.rounds)
        finally:
            for contender in contenders.values():
                contender.close()
    rows = table(taken, {name: contender.version for name, contender in contenders.items()})
    columns = ("contender", "version", "ms a round", "processor ms a round", "Flowerbed / it")
    show(
        f"{asked.cohort} clients a round, {asked.steps} steps, medians of {options.turns} turns",
        columns,
        rows,
    )


if __name__ == "__main__":
    main()
