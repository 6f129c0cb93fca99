"""Resident memory: flat over rounds, and independent of the number of clients but for their index arrays."""

import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from flwr.app import Message

from benchmarks.harness import make_config, parser, run, show
from runtimes.sequential import SequentialGrid

SAMPLED: list[float] = []


def resident_mb() -> float:
    """Return resident memory without pages of files: the memory-mapped data fill up as they are read."""
    _, resident, of_files, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - of_files) * resource.getpagesize() / 1e6


class SamplingGrid(SequentialGrid):
    """Notes the resident memory once a round."""

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Carry the messages."""
        SAMPLED.append(resident_mb())
        return super().exchange(messages)


def measure(clients: int, rounds: int) -> None:
    torch.set_num_threads(1)
    config = make_config(
        model__name="hsu-cnn", clients__count=clients, clients__fraction=5 / clients, local__steps=1,
        local__batch_size=16, partition__name="iid", rounds=rounds, evaluate__every=20, checkpoint__every=20,
        dataset__root=".",
    )  # fmt: skip
    run(config, SamplingGrid)
    print(" ".join(f"{SAMPLED[server_round]:.0f}" for server_round in shown(rounds)))


def shown(rounds: int) -> list[int]:
    """Return the rounds after which the memory is shown: the first, and three of equal distance."""
    return [1, *(max(1, rounds * third // 3) for third in (1, 2, 3))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--clients", type=int, help="measure this one case in this process")
    made.add_argument("--rounds", type=int, default=300, help="rounds of each run")
    options = made.parse_args(arguments)
    if options.tiny:
        options.rounds = 3
    if options.clients:
        measure(options.clients, options.rounds)
        return
    rows: list[tuple[object, ...]] = []
    for clients in (10,) if options.tiny else (10, 1000):
        command = [
            sys.executable,
            "-m",
            "benchmarks.memory",
            "--clients",
            str(clients),
            "--rounds",
            str(options.rounds),
        ]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append((clients, *answer[-4:]))
    first, *others = shown(options.rounds)
    columns = ("clients", f"MB in round {first}", *map(str, others))
    show("Resident anonymous memory, Hsu CNN on 50,000 images, 5 clients a round", columns, rows)


if __name__ == "__main__":
    main()
