"""Thousands of rounds of a tiny model: whether memory, open files, threads and the disk stay as they are.

``python -m benchmarks.soak`` runs 10,000 rounds one client after the other; ``--carrier ray`` and
``--carrier grpc`` run others. The command is the one that a person starts; its process and all that it
started are looked at from outside. A second table has each process that lives as long as the run by itself, a
third says which programs use processor time and memory: of one that has ended, what it had when it was last
looked at.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import parser, scratch_folder, show
from common.defaults import PROJECT_ROOT

TINY = {
    "clients.count": 2, "clients.fraction": 1.0, "local.steps": 1, "local.batch-size": 16, "device": "cpu",
    "dataset.name": "digits", "partition.name": "iid", "model.name": "mlp",
    "evaluate.every": 10, "checkpoint.every": 10,
}  # fmt: skip
COMMANDS = {
    "sequential": ["run_simulation.py"],
    "ray": ["run_simulation.py", "--runtime", "ray"],
    "grpc": ["-m", "runtimes.federation"],
}
MARK = "FLOWERBED_SOAK"
TEMPORARY = "tmp"
PAUSE_SECONDS, SHORT_RUN = 0.5, 1000  # a run of fewer rounds is looked at more often, if they are fast
SHOWN = 5


@dataclass(frozen=True)
class Sample:
    """What a run uses at one moment, over all of its processes."""

    rounds: int
    resident_mb: float
    files: int
    threads: int
    processes: int
    disk_mb: float
    temporary_mb: float


@dataclass(frozen=True)
class Look:
    """What a process uses at one moment."""

    rounds: int
    resident_mb: float
    files: int
    threads: int


@dataclass
class Process:
    """A process of a run, as it was last seen."""

    program: str
    peak_mb: float = 0.0
    seconds: float = 0.0  # of processor time
    looks: list[Look] = field(default_factory=list)

    def look(self, folder: Path, look: Look) -> None:
        """Take what has changed."""
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        self.seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        self.peak_mb = max(self.peak_mb, look.resident_mb)
        self.looks.append(look)


def take(run_directory: Path, mark: str, seen: dict[str, Process]) -> Sample:
    """Look at a run's processes and its folders; `seen` has each process by its id."""
    pids, rounds = _processes(mark), _rounds(run_directory)
    memory = files = threads = 0
    for folder in pids:
        with contextlib.suppress(OSError, LookupError, ValueError):  # a process that has just ended
            status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
            resident = int(status["RssAnon"].split()[0])
            look = Look(rounds, resident / 1e3, len(os.listdir(folder / "fd")), int(status["Threads"]))
            seen.setdefault(folder.name, Process(_program(folder))).look(folder, look)
            memory += resident
            threads += look.threads
            files += look.files
    disk, temporary = _used(run_directory), _used(run_directory.parent / TEMPORARY)
    return Sample(rounds, memory / 1e3, files, threads, len(pids), disk / 1e6, temporary / 1e6)


def _used(root: Path) -> int:
    """Return the bytes of the files below a folder, some of which may be gone by now, folders too."""
    return sum(_size(Path(folder, name)) for folder, _, names in os.walk(root) for name in names)


def _program(folder: Path) -> str:
    """Return the name of the program or the module that a process runs."""
    words = (folder / "cmdline").read_text().replace("\0", " ").split()
    names = [Path(word).name for word in words if not word.startswith("-")]
    name = names[1] if len(names) > 1 and names[0].startswith("python") else "".join(names[:1])
    if "resident/server.py" not in " ".join(words):
        return name
    return f"{(folder / 'comm').read_text().strip()} (forked)"


def _processes(mark: str) -> list[Path]:
    """Return the folders of the processes with a mark in their environment, and of what descends from them.

    Some of Ray's overwrite their environment.
    """
    parents: dict[str, str] = {}
    found: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if mark.encode() in (folder / "environ").read_bytes():
                found.add(folder.name)
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return [Path("/proc") / pid for pid in found]


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _rounds(run_directory: Path) -> int:
    with contextlib.suppress(OSError):
        return max(0, (run_directory / "metrics.csv").read_bytes().count(b"\n") - 2)
    return 0


def soak(
    carrier: str, rounds: int, settings: Mapping[str, object]
) -> tuple[list[Sample], dict[str, Process], float]:
    """Run rounds; return samples in the order of time, all processes, and the seconds that it took.

    Raises
    ------
    RuntimeError
        If the run failed.
    """
    directory = scratch_folder() / "run"
    (directory.parent / TEMPORARY).mkdir()
    mark = f"{MARK}={directory}\0"
    keys = {**TINY, "rounds": rounds, **settings}
    assignments = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, *COMMANDS[carrier], "--run-dir", str(directory), *assignments]
    own = {MARK: str(directory), "OMP_NUM_THREADS": "1", "TMPDIR": str(directory.parent / TEMPORARY)}
    pause = PAUSE_SECONDS * (1 if carrier == "grpc" else min(1, rounds / SHORT_RUN))
    seen: dict[str, Process] = {}
    started, samples = time.monotonic(), []
    with (
        (directory.parent / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=PROJECT_ROOT, env={**os.environ, **own}, stdout=log, stderr=log
        ) as process,
    ):
        while process.poll() is None:
            sample = take(directory, mark, seen)
            if sample.rounds > (samples[-1].rounds if samples else 0):
                samples.append(sample)
            time.sleep(pause)
    if process.returncode:
        raise RuntimeError((directory.parent / "log").read_text()[-2000:])
    return samples, seen, time.monotonic() - started


def between(samples: Sequence[Sample], rounds: int) -> list[tuple[object, ...]]:
    """Return rows: for each of `SHOWN` parts of the run, the largest of what was seen in it."""
    rows: list[tuple[object, ...]] = []
    for part in range(SHOWN):
        low, high = (rounds * edge // SHOWN for edge in (part, part + 1))
        if not (seen := [sample for sample in samples if low < sample.rounds <= high]):
            continue
        names = ("resident_mb", "files", "threads", "processes", "disk_mb", "temporary_mb")
        most = [max(getattr(sample, name) for sample in seen) for name in names]
        rows.append(
            (f"{low + 1}-{high}", *(f"{value:.1f}" if isinstance(value, float) else value for value in most))
        )
    return rows


def by_process(processes: Iterable[Process], rounds: int) -> list[tuple[object, ...]]:
    """Return rows: program, the most memory in each of `SHOWN` parts, and files and threads first and last.

    Of the processes that were there in the first of the parts and in the last one.
    """
    rows: list[tuple[object, ...]] = []
    for process in processes:
        parts: list[list[Look]] = [[] for _ in range(SHOWN)]
        for look in process.looks:
            if look.rounds:
                parts[(look.rounds - 1) * SHOWN // rounds].append(look)
        if all(parts):
            memory = (f"{max(look.resident_mb for look in part):.1f}" for part in parts)
            first, last = parts[0][-1], parts[-1][-1]
            rows.append(
                (process.program, *memory, f"{first.files}, {last.files}", f"{first.threads}, {last.threads}")
            )
    return sorted(rows, key=lambda row: str(row[0]))


def by_program(processes: Iterable[Process], rounds: int) -> list[tuple[object, ...]]:
    """Return rows: program, how many processes ran it, the largest one's memory, and processor time."""
    programs: dict[str, list[Process]] = {}
    for process in processes:
        programs.setdefault(process.program, []).append(process)
    rows = [
        (name, len(all_), max(one.peak_mb for one in all_), sum(one.seconds for one in all_) / rounds)
        for name, all_ in programs.items()
    ]
    rows.sort(key=lambda row: -row[3])
    return [(name, count, f"{peak:.0f}", f"{seconds:.3f}") for name, count, peak, seconds in rows[:10]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    text = "how messages travel"
    made.add_argument("--carrier", choices=list(COMMANDS), default="sequential", help=text)
    made.add_argument("--rounds", type=int, default=10_000, help="number of rounds")
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the run; repeatable"
    )
    options = made.parse_args(arguments)
    rounds = 100 if options.tiny else options.rounds
    settings = dict(assignment.split("=", 1) for assignment in options.set)
    samples, processes, seconds = soak(options.carrier, rounds, settings)
    columns = (
        "rounds",
        "MB resident",
        "files",
        "threads",
        "processes",
        "MB on disk",
        "MB of temporary files",
    )
    title = f"{rounds} rounds, {options.carrier}, {seconds:.0f} s: the most of each, all processes"
    show(title, columns, between(samples, rounds))
    columns = ("process", *(f"MB, part {part + 1}" for part in range(SHOWN)), "files", "threads")
    show("Processes that were there from beginning to end", columns, by_process(processes.values(), rounds))
    columns = ("program", "processes", "MB of the largest", "processor seconds a round")
    show("By program, start and end of the run included", columns, by_program(processes.values(), rounds))


if __name__ == "__main__":
    main()
