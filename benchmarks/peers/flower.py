"""Flower's own simulator: its FedAvg on its Ray backend, with one worker."""

import importlib.metadata
import os

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch.nn import functional as F

from benchmarks.peers.turns import rounds, seconds_of_all, workload
from benchmarks.peers.workload import Cnn, Workload, of_client


def client_app(asked: Workload) -> ClientApp:
    """Return an app that trains as Flower's examples do, on slices instead of a loader."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        torch.set_num_threads(1)
        model = Cnn(asked.size).train()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=asked.rate)
        images, targets = of_client(asked, int(context.node_config["partition-id"]))
        for batch in torch.randperm(asked.images).split(asked.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), targets[batch]).backward()
            optimizer.step()
        metrics = MetricRecord({"num-examples": asked.images})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content, reply_to=message)

    return app


def server_app(asked: Workload) -> ServerApp:
    """Return an app that makes the rounds that are asked for."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        arrays = ArrayRecord(Cnn(asked.size).state_dict())
        strategy = FedAvg(
            fraction_train=asked.cohort / asked.clients,
            fraction_evaluate=0.0,
            min_train_nodes=asked.cohort,
            min_available_nodes=asked.clients,
        )
        for _ in rounds(importlib.metadata.version("flwr"), seconds_of_all, counts=False):
            arrays = strategy.start(grid, arrays, num_rounds=1).arrays

    return app


def main() -> None:
    """Make the rounds that are asked for."""
    asked = workload()
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    resources = {"num_cpus": 1, "num_gpus": 0.0}
    start = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 200_000_000}
    run_simulation(
        server_app(asked),
        client_app(asked),
        num_supernodes=asked.clients,
        backend_config={"client_resources": resources, "init_args": start},
    )


if __name__ == "__main__":
    main()
