"""From the command to the first round and to the end of a run of one round, less importing torch.

Seconds that pass, and seconds of processor time, which other work on the machine disturbs less.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.harness import parser, show

IMPORT = "import torch"
READ = f"{IMPORT}; from datasets.loading import load_dataset; load_dataset('digits', root='.')"
RUN = """
import sys, tempfile, run_simulation
short = ["--set", "rounds=1", "--set", "clients.fraction=0.05", "--set", "local.steps=1"]
short += ["--set", "local.epochs=0"]
with tempfile.TemporaryDirectory() as folder:
    sys.exit(run_simulation.main([*short, "--run-dir", folder + "/run"]))
"""
START = f"""
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "server.app":  # a run imports it when it needs it, and so does this
            sys.meta_path.remove(self)
            from server.round_loop import RoundLoop
            RoundLoop.run = lambda loop: sys.exit()  # all is ready for the first round
sys.meta_path.insert(0, Finder())
{RUN}
"""
PROGRAMS = {
    "python, importing torch": IMPORT,
    "the same, and reading the digits": READ,
    "a run up to its first round": START,
    "a whole run of one round with one client step": RUN,
}
REPEATS = 5


def seconds(program: str) -> tuple[float, float]:
    """Return the seconds that a program took, and those of the processor."""
    started, before = time.perf_counter(), _processor_seconds()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, _processor_seconds() - before


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    repeats = 1 if parser(__doc__).parse_args(arguments).tiny else REPEATS
    best: dict[str, tuple[float, ...]] = {}
    for name, program in PROGRAMS.items():
        best[name] = tuple(map(min, zip(*(seconds(program) for _ in range(repeats)), strict=True)))
    importing, _, start, whole = best.values()
    for name, program in (
        ("imports, data, our start", start),
        ("all of it, with one round, evaluation, plots and report", whole),
    ):
        ours = (run - imported for run, imported in zip(program, importing, strict=True))
        best[f"beyond importing torch: {name}"] = tuple(ours)
    rows: list[tuple[object, ...]] = [(name, *(f"{v:.2f}" for v in values)) for name, values in best.items()]
    show(f"Best of {repeats} starts", ("program", "s", "processor s"), rows)


if __name__ == "__main__":
    main()
