"""pfl-research, as its benchmark of image classification sets it up."""

import importlib.metadata

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch.nn import functional as F

from benchmarks.peers.turns import rounds, workload
from benchmarks.peers.workload import Cnn, of_client


class _Model(Cnn):
    """The network with what pfl-research asks of one."""

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor, eval: bool = False) -> torch.Tensor:
        self.eval() if eval else self.train()
        return F.cross_entropy(self(inputs), targets)

    def metrics(self, inputs: torch.Tensor, targets: torch.Tensor, eval: bool = True) -> dict[str, object]:
        return {}


class _Asked(TrainingProcessCallback):  # type: ignore[misc]
    """Waits at the start and after every round until another one is asked for."""

    def __init__(self) -> None:
        self._rounds = rounds(importlib.metadata.version("pfl"))
        next(self._rounds)

    def after_central_iteration(
        self, aggregate_metrics: object, model: object, *, central_iteration: int
    ) -> tuple[bool, object]:
        return next(self._rounds, None) is None, Metrics()


def main() -> None:
    """Make the rounds that are asked for."""
    asked = workload()
    network = _Model(asked.size)
    users = [of_client(asked, client) for client in range(asked.clients)]
    sampler = get_user_sampler("random", range(asked.clients))
    samples = FederatedDataset.from_slices(users, sampler)
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=10**6,
            evaluation_frequency=10**6,  # of its first round only, which nobody counts
            train_cohort_size=asked.cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=samples, val_data=samples, postprocessors=[WeightByUser()]),
        model=PyTorchModel(
            model=network,
            local_optimizer_create=torch.optim.SGD,
            central_optimizer=torch.optim.SGD(network.parameters(), 1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_learning_rate=asked.rate, local_num_epochs=1, local_batch_size=asked.batch_size
        ),
        callbacks=[_Asked()],
    )


if __name__ == "__main__":
    main()
