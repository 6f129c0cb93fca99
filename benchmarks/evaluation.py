"""Central evaluation of 10,000 CIFAR test images with the Hsu CNN."""

import argparse
import time

import torch

from benchmarks.harness import show
from common.config import Config, merge
from datasets.configured import open_dataset
from server.evaluation import CentralEvaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset-root", default="data")
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    for channels_last in (False, True):
        for batch_size in (64, 256, 1000):
            layer = {
                "dataset.name": "cifar10", "dataset.root": options.dataset_root, "model.name": "hsu-cnn",
                "evaluate.batch-size": batch_size, "local.channels-last": channels_last,
            }  # fmt: skip
            config = Config.from_flat(merge(layer))
            evaluation = CentralEvaluation(config, open_dataset(config))
            arrays = evaluation.initial_arrays()
            times = []
            for _ in range(3):
                started = time.perf_counter()
                evaluation(arrays)
                times.append(time.perf_counter() - started)
            rows.append((batch_size, "yes" if channels_last else "no", f"{min(times):.2f}"))
    torch.set_num_threads(1)
    show("10,000 images, Hsu CNN, best of 3", ("batch size", "channels-last", "s"), rows)


if __name__ == "__main__":
    main()
