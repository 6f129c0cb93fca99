"""Training through the whole system against a bare PyTorch loop that makes the same SGD steps.

Both run in this process, in alternation, on the same random images. The bare loop holds the data as one
normalised float tensor and does nothing but slicing, forward, backward, step, and copying a start model in
for each client. The system adds cohort sampling, messages, serialisation, keyed randomness, normalisation of
uint8 images, reply checks, aggregation and metrics. Central evaluation is in neither.
"""

import time
from collections.abc import Sequence

import pandas as pd
import torch
from torch.nn import functional as F

from benchmarks.harness import make_config, parser, run, show
from common.config import Config
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from models.configured import build_configured_model

CASES = {
    "Hsu CNN, 10 clients a round, 4 steps of 64": {
        "model__name": "hsu-cnn", "clients__count": 100, "clients__fraction": 0.1,
        "local__steps": 4, "local__batch_size": 64,
    },
    "small CNN, cohort 50 of 1000 clients x 50 images, batch 10, 1 epoch": {
        "model__name": "small-cnn", "clients__count": 1000, "clients__fraction": 0.05,
        "local__epochs": 1, "local__batch_size": 10,
    },
}  # fmt: skip


TINY = {"local__steps": 1, "local__batch_size": 2}


def bare_seconds_per_round(config: Config, rounds: int) -> list[float]:
    dataset = open_dataset(config)
    images = dataset.train.inputs[:5000].float().div_(255)
    targets = dataset.train.targets[:5000]
    model = build_configured_model(config, dataset.input_shape, dataset.num_classes).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=config.optimizer.learning_rate, fused=True)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    clients = round(config.clients.count * config.clients.fraction)
    num_examples = len(partition_clients(config, dataset)[0])
    steps = config.local.steps or config.local.epochs * -(-num_examples // config.local.batch_size)
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _client in range(clients):
            model.load_state_dict(start)
            order = torch.randperm(4900)
            for step in range(steps):
                batch = order[step * config.local.batch_size : (step + 1) * config.local.batch_size]
                optimizer.zero_grad(set_to_none=True)
                loss = F.cross_entropy(model(images[batch]), targets[batch])
                loss.backward()
                optimizer.step()
        times.append(time.perf_counter() - started)
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=4, help="rounds per turn")
    made.add_argument("--turns", type=int, default=5, help="turns of system and bare loop")
    options = made.parse_args(arguments)
    if options.tiny:
        options.rounds, options.turns = 1, 1
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for name, overrides in list(CASES.items())[: 1 if options.tiny else None]:
        if options.tiny:
            overrides = {**overrides, **TINY}
        config = make_config(
            partition__name="iid",
            rounds=options.rounds + 1,
            evaluate__every=10**6,
            dataset__root=".",
            **overrides,
        )
        system, bare = [], []
        for _ in range(options.turns):
            system += pd.read_csv(run(config) / "metrics.csv")["seconds"].iloc[1:-1].tolist()
            bare += bare_seconds_per_round(config, options.rounds)
        ours, theirs = pd.Series(system).median(), pd.Series(bare).median()
        rows.append((name, f"{theirs:.3f}", f"{ours:.3f}", f"{ours / theirs:.3f}"))
    show("Median seconds per round", ("case", "bare loop", "Flowerbed", "ratio"), rows)


if __name__ == "__main__":
    main()
