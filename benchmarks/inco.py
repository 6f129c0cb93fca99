"""InCo on the server against the average before it, and against a round with training.

A ResNet-26 and ten replies of five sizes. Rounds are measured in seconds of CPU time of this process, in
which clients train one after the other: other work on the machine matters less to them.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

from torch import nn

from benchmarks.harness import make_config, parser, scratch_folder, show
from clients.app import app
from common.config import Config
from common.device import prepare_process
from common.records import Tensors
from common.sections import Value
from models.architectures.residual import ResidualNetwork
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import NoProgress
from strategies._aggregation import WeightedAverage
from strategies._inco import InCoOptions, apply_inco
from strategies._inco_targets import inco_targets

SIZES = ((1, 1, 1, 1), (1, 1, 2, 2), (2, 2, 2, 2), (2, 2, 3, 3), (3, 3, 3, 3))
WIDTHS = (64, 128, 256, 512)
REPEATS = 5


def state(blocks: tuple[int, ...], widths: tuple[int, ...]) -> Tensors:
    model = ResidualNetwork(3, 10, widths=widths, blocks=blocks, norm=nn.BatchNorm2d, shortcut="B")
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def seconds(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[repeats // 2]


def average(replies: list[Tensors]) -> Tensors:
    mean = WeightedAverage()
    for reply in replies:
        mean.add(reply, 1.0)
    return mean.mean()


class Clock(NoProgress):
    """Notes the CPU time at the end of every round."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def show(self, row: object) -> None:
        """Look at the clock."""
        self.times.append(time.process_time())


def seconds_per_round(inco: bool, steps: int, rounds: int, smaller: dict[str, Value]) -> list[float]:
    """Return the CPU time of each of some rounds, without evaluation, checkpoint and the first round."""
    case: dict[str, Value] = {
        "method__name": "heteroavg", "method__inco": inco, "model__name": "stage-resnet",
        "model__sizes": "1,2,3,4,5", "clients__count": 10, "clients__fraction": 1.0,
        "partition__name": "iid", "dataset__root": ".", "local__steps": steps, "local__batch_size": 64,
        "optimizer__name": "adamw", "optimizer__learning_rate": 0.001,
        "rounds": rounds + 2, "evaluate__every": 10**6,
    }  # fmt: skip
    config = make_config(**{**case, **smaller})
    clock = Clock()
    directory = scratch_folder() / "run"
    config = Config.from_flat({**config.flat(), "run.directory": str(directory)})
    run_experiment(config, SequentialGrid(app, config.clients.count, config.flat()), clock)
    times = clock.times[1:-1]  # from the end of round 1 to that of the last but one
    return [end - start for start, end in itertools.pairwise(times)]


def show_rounds(steps: int, rounds: int, smaller: dict[str, Value] | None = None) -> None:
    plain, inco = (
        statistics.median(seconds_per_round(flag, steps, rounds, smaller or {})) for flag in (False, True)
    )
    rows: list[tuple[object, ...]] = [
        ("HeteroAvg", f"{plain:.2f}", ""),
        ("InCoAvg", f"{inco:.2f}", f"{inco / plain:.3f}"),
    ]
    title = f"Rounds of 10 clients with {steps} steps of 64 images, CPU seconds, median of {rounds}"
    show(title, ("method", "s", "ratio"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=4, help="local steps of a client; the paper has 40")
    made.add_argument("--rounds", type=int, default=3, help="rounds that are measured")
    options = made.parse_args(arguments)
    prepare_process(1)
    if options.tiny:
        show_rounds(1, 1, {"model__width": 2, "local__batch_size": 2})
    else:
        show_rounds(options.steps, options.rounds)
    widths, repeats = ((4, 4, 8, 8), 1) if options.tiny else (WIDTHS, REPEATS)
    replies = [state(blocks, widths) for blocks in SIZES for _ in range(2)]
    updates = average(replies)
    targets = inco_targets({name: tuple(value.shape) for name, value in updates.items()})
    changed = sum(updates[name].numel() for name in targets)
    rows: list[tuple[object, ...]] = [
        ("average of 10 replies", f"{1000 * seconds(lambda: average(replies), repeats):.0f}")
    ]
    for name, inco in {
        "InCo, kernel by kernel": InCoOptions(),
        "InCo, whole layers": InCoOptions(granularity="layer"),
    }.items():
        milliseconds = 1000 * seconds(lambda inco=inco: apply_inco(updates, targets, inco), repeats)
        rows.append((name, f"{milliseconds:.0f}"))
    size = sum(value.numel() for value in updates.values())
    title = f"{len(targets)} targets with {changed / 1e6:.1f} M of {size / 1e6:.1f} M"
    show(f"{title} values in float64, median of {repeats}", ("step of the server", "ms"), rows)


if __name__ == "__main__":
    main()
