"""No system at all: slicing, forward, backward, step, copies of the model, and their mean."""

import copy

import torch
from torch.nn import functional as F

from benchmarks.peers.turns import rounds, workload
from benchmarks.peers.workload import Cnn, data, of_client


def main() -> None:
    """Make the rounds that are asked for."""
    asked = workload()
    data(asked)
    model = Cnn(asked.size).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=asked.rate, fused=True)
    for _ in rounds(torch.__version__):
        start = copy.deepcopy(model.state_dict())
        total = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in start.items()}
        for client in torch.randperm(asked.clients)[: asked.cohort].tolist():
            model.load_state_dict(start)
            images, targets = of_client(asked, client)
            for batch in torch.randperm(asked.images).split(asked.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(model(images[batch]), targets[batch]).backward()
                optimizer.step()
            for name, value in model.state_dict().items():
                total[name] += value
        model.load_state_dict({name: (value / asked.cohort).float() for name, value in total.items()})


if __name__ == "__main__":
    main()
