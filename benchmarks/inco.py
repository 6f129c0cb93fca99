"""InCo on the server against the average before it: a ResNet-26, ten replies of five sizes."""

import time
from collections.abc import Callable

from torch import nn

from benchmarks.harness import show
from common.device import prepare_process
from common.records import Section
from models.residual import ResidualNetwork
from strategies._inco import InCoOptions, apply_inco
from strategies._inco_targets import inco_targets
from strategies.aggregation import WeightedAverage

SIZES = ((1, 1, 1, 1), (1, 1, 2, 2), (2, 2, 2, 2), (2, 2, 3, 3), (3, 3, 3, 3))
REPEATS = 5


def state(blocks: tuple[int, ...]) -> Section:
    model = ResidualNetwork(
        3, 10, widths=(64, 128, 256, 512), blocks=blocks, norm=nn.BatchNorm2d, shortcut="B"
    )
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[REPEATS // 2]


def average(replies: list[Section]) -> Section:
    mean = WeightedAverage()
    for reply in replies:
        mean.add(reply, 1.0)
    return mean.mean()


def main() -> None:
    prepare_process(1)
    replies = [state(blocks) for blocks in SIZES for _ in range(2)]
    updates = average(replies)
    targets = inco_targets({name: tuple(value.shape) for name, value in updates.items()})
    changed = sum(updates[name].numel() for name in targets)
    rows: list[tuple[object, ...]] = [
        ("average of 10 replies", f"{1000 * seconds(lambda: average(replies)):.0f}")
    ]
    for name, options in {
        "InCo, kernel by kernel": InCoOptions(),
        "InCo, whole layers": InCoOptions(granularity="layer"),
    }.items():
        milliseconds = 1000 * seconds(lambda options=options: apply_inco(updates, targets, options))
        rows.append((name, f"{milliseconds:.0f}"))
    size = sum(value.numel() for value in updates.values())
    title = f"{len(targets)} targets with {changed / 1e6:.1f} M of {size / 1e6:.1f} M"
    show(f"{title} values in float64, median of {REPEATS}", ("step of the server", "ms"), rows)


if __name__ == "__main__":
    main()
