"""Models with our max pooling and with that of PyTorch, in alternation: a step, and a forward pass."""

import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import parser, show
from common.device import prepare_process
from models.architectures import hsu_cnn, lenet, max_pool, small_cnn

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Hsu CNN, batch of 64": (lambda: hsu_cnn.build((3, 32, 32), 100), (64, 3, 32, 32)),
    "LeNet, batch of 64": (lambda: lenet.build((3, 32, 32), 10), (64, 3, 32, 32)),
    "small CNN, batch of 10": (lambda: small_cnn.build((1, 28, 28), 10), (10, 1, 28, 28)),
}


def _milliseconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def _works(model: nn.Module, images: torch.Tensor) -> dict[str, Callable[[], None]]:
    """Return what is measured: a step of SGD, and a forward pass of evaluation."""
    targets = torch.zeros(len(images), dtype=torch.int64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()

    @torch.no_grad()
    def forward() -> None:
        model(images)

    return {"step": step, "evaluation": forward}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--turns", type=int, default=25, help="turns of each contender")
    options = made.parse_args(arguments)
    prepare_process(1)
    rows: list[tuple[object, ...]] = []
    for name, (build, shape) in CASES.items():
        model = build()
        module = sys.modules[type(model).__module__]
        for what, work in _works(model, torch.randn(shape)).items():
            times: list[list[float]] = [[], []]
            for _ in range(1 + (1 if options.tiny else options.turns)):
                for own, pool in zip(times, (lambda x: F.max_pool2d(x, 2), max_pool.max_pool), strict=True):
                    module.max_pool = pool  # type: ignore[attr-defined]
                    own.append(_milliseconds(work))
            theirs, ours = (min(each[1:]) for each in times)
            rows.append((name, what, f"{theirs:.2f}", f"{ours:.2f}", f"{ours / theirs:.2f}"))
    show(
        "Processor time of one thread, least of the turns, ms",
        ("model", "what", "PyTorch", "ours", "ratio"),
        rows,
    )


if __name__ == "__main__":
    main()
