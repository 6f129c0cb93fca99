"""BlazeFL, with its own FedAvg for one process."""

import importlib.metadata

import torch
from blazefl.contrib.fedavg import FedAvgBaseClientTrainer, FedAvgBaseServerHandler
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.turns import rounds, workload
from benchmarks.peers.workload import Cnn, Workload, data, of_client


class _Data:
    """What BlazeFL asks its user for: a loader of each client's samples."""

    def __init__(self, asked: Workload) -> None:
        self._asked = asked
        data(asked)

    def get_dataloader(
        self, type_: str, cid: int, batch_size: int, generator: torch.Generator
    ) -> DataLoader[tuple[torch.Tensor, ...]]:
        samples = TensorDataset(*of_client(self._asked, cid))
        return DataLoader(samples, batch_size, shuffle=True, generator=generator)


class _Models:
    def __init__(self, asked: Workload) -> None:
        self._asked = asked

    def select_model(self, model_name: str) -> torch.nn.Module:
        return Cnn(self._asked.size)


def main() -> None:
    """Make the rounds that are asked for."""
    asked = workload()
    models, samples = _Models(asked), _Data(asked)
    server = FedAvgBaseServerHandler(
        model_selector=models,
        model_name="cnn",
        dataset=samples,
        global_round=10**6,
        num_clients=asked.clients,
        sample_ratio=asked.cohort / asked.clients,
        device="cpu",
        batch_size=asked.batch_size,
        seed=0,
    )
    trainer = FedAvgBaseClientTrainer(
        model_selector=models,
        model_name="cnn",
        dataset=samples,
        device="cpu",
        num_clients=asked.clients,
        epochs=1,
        batch_size=asked.batch_size,
        lr=asked.rate,
        seed=0,
    )
    for _ in rounds(importlib.metadata.version("blazefl")):
        trainer.local_process(server.downlink_package(), server.sample_clients())
        for package in trainer.uplink_package():
            server.load(package)


if __name__ == "__main__":
    main()
