"""Central evaluation of 10,000 CIFAR test images with the Hsu CNN."""

import time
from collections.abc import Sequence

import torch

from benchmarks.harness import parser, show
from common.config import Config
from common.config_values import merge
from datasets.configured import open_dataset
from server.evaluation import CentralEvaluation


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--dataset-root", default="data", help="folder that has CIFAR-10")
    options = made.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for channels_last in (False, True):
        for batch_size in (64,) if options.tiny else (64, 256, 1000):
            layer = {
                "dataset.name": "benchmarks.harness:benchmark_images" if options.tiny else "cifar10",
                "dataset.root": options.dataset_root,
                "model.name": "hsu-cnn",
                "evaluate.batch-size": batch_size,
                "local.channels-last": channels_last,
            }
            config = Config.from_flat(merge(layer))
            dataset = open_dataset(config)
            evaluation = CentralEvaluation(config, dataset)
            arrays = evaluation.initial_arrays()
            times = []
            for _ in range(3):
                started = time.perf_counter()
                evaluation(arrays)
                times.append(time.perf_counter() - started)
            rows.append((batch_size, "yes" if channels_last else "no", f"{min(times):.2f}"))
    show(f"{len(dataset.test)} images, Hsu CNN, best of 3", ("batch size", "channels-last", "s"), rows)


if __name__ == "__main__":
    main()
