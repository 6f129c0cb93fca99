"""Seconds from the command to the end of the first round, less importing torch and reading the data."""

import subprocess
import sys
import time

from benchmarks.harness import show

IMPORT = "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)"
READ = f"{IMPORT}; from datasets.loading import load_dataset; load_dataset('digits', root='.')"
RUN = """
import sys, tempfile, run_simulation
short = ["--set", "rounds=1", "--set", "clients.fraction=0.05", "--set", "local.steps=1"]
sys.exit(run_simulation.main([*short, "--run-dir", tempfile.mkdtemp() + "/run"]))
"""
PROGRAMS = {
    "python, importing torch and torch's optimiser machinery": IMPORT,
    "the same, and reading the digits": READ,
    "a whole run of one round with one client step": RUN,
}
REPEATS = 5


def seconds(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    times = {name: min(seconds(program) for _ in range(REPEATS)) for name, program in PROGRAMS.items()}
    rows: list[tuple[object, ...]] = [(name, f"{value:.2f}") for name, value in times.items()]
    _, reading, whole = times.values()
    rows.append(("difference: our start, one round, evaluation, plots, table", f"{whole - reading:.2f}"))
    show(f"Best of {REPEATS} starts", ("program", "s"), rows)


if __name__ == "__main__":
    main()
