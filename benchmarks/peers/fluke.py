"""fluke, with its own FedAvg."""

import importlib.metadata

import torch
from fluke import DDict, FlukeENV
from fluke.algorithms.fedavg import FedAVG
from fluke.data import FastDataLoader
from fluke.server import EarlyStopping
from fluke.utils import FederationObserver

from benchmarks.peers.turns import rounds, workload
from benchmarks.peers.workload import Cnn, Workload, of_client


class _Shares:
    """What fluke's own splitter does: a loader of each client's samples."""

    def __init__(self, asked: Workload) -> None:
        self._asked = asked

    def assign(self, n_clients: int, batch_size: int) -> tuple[tuple[list[object], list[None]], None]:
        loaders = [
            FastDataLoader(
                *of_client(self._asked, client), num_labels=10, batch_size=batch_size, shuffle=True
            )
            for client in range(n_clients)
        ]
        return (loaders, [None] * n_clients), None


class _Asked(FederationObserver):  # type: ignore[misc]
    """Waits at the start and after every round until another one is asked for."""

    def __init__(self) -> None:
        self._rounds = rounds(importlib.metadata.version("fluke-fl"))
        next(self._rounds)

    def end_round(self, round: int) -> None:
        if next(self._rounds, None) is None:
            raise EarlyStopping(round)


def main() -> None:
    """Make the rounds that are asked for."""
    asked = workload()
    FlukeENV().set_eval_cfg(server=False, locals=False, pre_fit=False, post_fit=False)
    algorithm = FedAVG(
        asked.clients,
        _Shares(asked),
        DDict(
            model=Cnn(asked.size),
            client=DDict(
                batch_size=asked.batch_size,
                local_epochs=1,
                persistency=False,  # else each client keeps a model
                loss=torch.nn.CrossEntropyLoss,
                optimizer=DDict(name="SGD", lr=asked.rate),
                scheduler=DDict(name="StepLR", step_size=1, gamma=1.0),
            ),
            server=DDict(weighted=False),
        ),
    )
    algorithm.set_callbacks([_Asked()])
    algorithm.run(10**6, asked.cohort / asked.clients)


if __name__ == "__main__":
    main()
