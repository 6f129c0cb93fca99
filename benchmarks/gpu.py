"""Everything that needs a GPU, in one call of less than nine minutes and one table.

Rounds of clients trained one by one against stacks of all of them, in wall time between synchronised points,
in float32 and in bfloat16 with channels-last; the GPU's utilisation (by NVML, where ``nvidia-ml-py`` is
installed) and its peak memory meanwhile. Then whole runs with 1, 2 and 4 Ray workers, each with its fraction
of one GPU: seconds a round, and whether the model has the bits of the sequential run. What comes too late is
left out, with a line. ``--tiny`` makes the same on whatever device there is.
"""

import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from benchmarks.harness import make_config, parser, run, show
from benchmarks.stacked import Rounds
from common.config import Config
from common.device import prepare_process
from common.sections import Value

SECONDS = 8 * 60
BATCH, STEPS, TURNS = 64, 20, 3
IMAGES, POINTS = "benchmarks.harness:benchmark_images", "benchmarks.stacked:benchmark_points"
CASES: tuple[tuple[str, int], ...] = (("hsu-cnn", 10), ("hsu-cnn", 50), ("small-cnn", 50), ("resnet18", 10))
PRECISIONS: dict[str, dict[str, Value]] = {
    "float32": {},
    "bfloat16, channels-last": {"local__precision": "bfloat16", "local__channels_last": True},
}
COLUMNS = ("model", "clients", "ms a round", "how", "steps per s", "ratio", "GPU %", "peak MB", "same bits")
Row = tuple[object, ...]


@dataclass
class Settings:
    """What is measured."""

    device: str
    steps: int
    turns: int
    cases: Sequence[tuple[str, int]]
    workers: Sequence[int]
    batch: int
    data: str
    until: float
    remarks: list[str] = field(default_factory=list)

    def is_late(self, what: str) -> bool:
        """Return whether there is no time left for something, with a remark."""
        if time.monotonic() < self.until:
            return False
        self.remarks.append(f"{what}: left out, the time is up")
        return True


class Utilisation:
    """Samples how busy the GPU is while a block runs."""

    def __init__(self, device: str) -> None:
        self._samples: list[int] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._is_on = device == "cuda"

    def __enter__(self) -> "Utilisation":
        if self._is_on:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over.set()
        if self._is_on:
            self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(0.05):
            try:
                self._samples.append(torch.cuda.utilization())
            except Exception:  # NVML or its package is not there
                return

    def text(self) -> str:
        """Return the mean, or a dash where it is not known."""
        return f"{statistics.mean(self._samples):.0f}" if self._samples else "-"


def clock_of(device: str) -> Callable[[], float]:
    """Return a clock that waits for the device to be done with what it was given."""

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised if device == "cuda" else time.perf_counter


def stacked_rows(settings: Settings, model: str, clients: int, precision: str) -> list[Row]:
    """Measure a case one by one and as a stack of all clients."""
    case: dict[str, Value] = {
        "dataset__name": settings.data,
        "model__name": model,
        "device": settings.device,
        "local__batch_size": settings.batch,
        **PRECISIONS[precision],
    }
    rounds = Rounds(case, clients, clock_of(settings.device))
    rows: list[Row] = []
    taken: list[float] = []
    try:
        for how, stack in ((f"one by one, {precision}", 1), (f"stacked, {precision}", clients)):
            rounds.on_note(lambda text, how=how: settings.remarks.append(f"{model}, {how}: {text}"))  # type: ignore[misc]
            seconds, busy, peak = measure(settings, rounds, stack)
            taken.append(seconds)
            rate = f"{clients * settings.steps / seconds:.0f}"
            ratio = f"{taken[0] / seconds:.2f}"
            rows.append((model, clients, f"{1000 * seconds:.1f}", how, rate, ratio, busy, peak, "-"))
    except torch.OutOfMemoryError:
        settings.remarks.append(f"{model}, {clients} clients, {precision}: the GPU's memory is too small")
    finally:
        rounds.close()
        if settings.device == "cuda":
            torch.cuda.empty_cache()
    return rows


def measure(settings: Settings, rounds: Rounds, stack: int) -> tuple[float, str, str]:
    """Return the median seconds of a round after one that warms up, the utilisation, and the peak in MB."""
    rounds.seconds(settings.steps, stack)
    on_gpu = settings.device == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with Utilisation(settings.device) as busy:
        seconds = statistics.median(rounds.seconds(settings.steps, stack) for _ in range(settings.turns))
    peak = f"{torch.cuda.max_memory_allocated() / 1e6:.0f}" if on_gpu else "-"
    return seconds, busy.text(), peak


def worker_rows(settings: Settings) -> list[Row]:
    """Run the first case sequentially and with several numbers of workers on one GPU."""
    model, clients = settings.cases[0]
    expected, seconds = whole_run(settings, model, clients, 0)
    rows: list[Row] = [
        (model, clients, f"{1000 * seconds:.1f}", "sequential run", "-", "1.00", "-", "-", "-")
    ]
    for workers in settings.workers:
        what = f"Ray, {workers} workers"
        if settings.is_late(what):
            continue
        found, taken = whole_run(settings, model, clients, workers)
        ratio, same = f"{seconds / taken:.2f}", "yes" if found == expected else "no"
        rows.append((model, clients, f"{1000 * taken:.1f}", what, "-", ratio, "-", "-", same))
    return rows


def whole_run(settings: Settings, model: str, clients: int, workers: int) -> tuple[str, float]:
    """Return the hash of the final model and the median seconds of a round; sequential with 0 workers."""
    keys: dict[str, Value] = {
        "dataset__name": settings.data,
        "model__name": model,
        "device": settings.device,
        "clients__count": clients,
        "clients__fraction": 1.0,
        "partition__name": "iid",
        "local__steps": settings.steps,
        "local__batch_size": settings.batch,
        "rounds": settings.turns + 1,
        "evaluate__every": 10**6,
        "runtime__stack": 1,
    }
    if workers:
        keys |= {"runtime__name": "ray", "runtime__workers": workers}
        keys["resources__gpus_per_client"] = 1 / workers if settings.device == "cuda" else 0.0
    config = make_config(**keys)
    directory = run_on_ray(config) if workers else run(config)
    rows = pd.read_csv(directory / "metrics.csv")["seconds"].iloc[2:]  # the first round starts the workers
    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return str(summary["model_sha256"]), float(rows.median())


def run_on_ray(config: Config) -> Path:
    """Run an experiment on Ray workers in a temporary run directory and return it."""
    from runtimes.ray.grid import RayGrid  # imported here: Ray is needed for these rows alone

    with RayGrid(config) as grid:
        return run(config, lambda *_: grid)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--workers", help="numbers of Ray workers, separated by commas (1,2,4 where CUDA is)")
    options = made.parse_args(arguments)
    has_gpu = torch.cuda.is_available()
    if not has_gpu and not options.tiny:
        made.error(
            "there is no CUDA here; --tiny makes the same on the CPU, at sizes whose figures say nothing"
        )
    prepare_process(1)
    named = options.workers if options.workers is not None else "1,2,4" if has_gpu else ""
    tiny = {"steps": 1, "turns": 1, "cases": [("mlp", 2)], "batch": 2, "data": POINTS}
    whole = {"steps": STEPS, "turns": TURNS, "cases": CASES, "batch": BATCH, "data": IMAGES}
    settings = Settings(
        device="cuda" if has_gpu else "cpu",
        workers=[int(number) for number in named.split(",") if number],
        until=time.monotonic() + SECONDS,
        **(tiny if options.tiny else whole),
    )
    rows: list[Row] = []
    for model, clients in settings.cases:
        for precision in PRECISIONS:
            if not settings.is_late(f"{model}, {clients} clients, {precision}"):
                rows += stacked_rows(settings, model, clients, precision)
    if not settings.is_late("whole runs"):
        rows += worker_rows(settings)
    device = torch.cuda.get_device_name() if has_gpu else "CPU"
    size = f"{settings.steps} local steps of {settings.batch} images"
    title = f"{device}: rounds of {size}, median of {settings.turns}"
    show(title, COLUMNS, rows)
    for remark in dict.fromkeys(settings.remarks):
        print(f"\n{remark}")


if __name__ == "__main__":
    main()
