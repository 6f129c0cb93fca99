"""IFCA's server half (Ghosh, Chung, Yin and Ramchandran 2020, arXiv:2006.04088, Algorithm 1)."""

from collections import Counter
from collections.abc import Iterable

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from common.config import Config
from common.errors import UserError
from common.randomness import torch_generator
from common.records import ARRAYS, CONFIG, Payload, Tensors, to_record, to_tensors
from common.sections import Positive
from strategies.fedavg import FedAvg


class IFCA(FedAvg):
    """Averages models within each of ``clusters`` clusters, which the clients choose (model averaging).

    All clients receive all models. The first cluster's is the run's global model, the others are evaluated
    centrally as ``cluster-1`` and so on. The others start from the initial model with the elements of every
    tensor permuted, which are new draws from the same initial distribution. A cluster that no client chose
    stays as it is. In the paper all clients weigh the same (``weighting = "uniform"``). metrics.csv has the
    number of clients that chose each.
    """

    COLUMNS = ("cluster_*_clients",)
    SECTIONS = frozenset({ARRAYS, "cluster"})

    clusters: Positive = 2

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.others: Payload = {}
        self._chosen: Counter[int] = Counter()

    def check(self, config: Config) -> None:
        """Refuse initial weights from which no other cluster's can be made."""
        super().check(config)
        if config.model.individual_init:
            raise UserError(
                "clients of 'ifca' begin at the clusters' models: leave model.individual-init at false"
            )
        if self.clusters > 1 and config.model.parameters.get("weights"):
            raise UserError(
                "'ifca' draws the initial weights of each cluster's model, and cannot use trained ones:"
                " leave model.weights out"
            )

    def trained_from(self, reply: Message, sent: Tensors) -> Tensors:
        """Return the model of the cluster that the client chose."""
        number = int(to_tensors(reply.content.array_records["cluster"])["chosen"])
        return self.others[f"cluster-{number}"] if number else sent

    def initial_model(self, model: Tensors, seed: int) -> Tensors:
        """Draw the other clusters' models."""
        for number in range(1, self.clusters):
            generator = torch_generator(seed, "clusters", number)
            self.others[f"cluster-{number}"] = {
                name: value.flatten()[torch.randperm(value.numel(), generator=generator)].view_as(value)
                for name, value in model.items()
            }
        return model

    def variants(self, model: Tensors) -> dict[str, Tensors]:
        """Return the other clusters' models."""
        return self.others

    def broadcast(self, server_round: int) -> Payload:
        """Send the other clusters' models."""
        self._chosen = Counter()
        return self.others

    def transform_reply(self, sections: Payload) -> Payload:
        """Assign the model to its cluster; the mean over all clusters is not used."""
        number = int(sections["cluster"]["chosen"])
        self._chosen[number] += 1
        return {ARRAYS: sections[ARRAYS], f"cluster-{number}": sections[ARRAYS]}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the first cluster's model and keep the others."""
        self.round_metrics = {
            f"cluster_{number}_clients": float(self._chosen[number]) for number in range(self.clusters)
        }
        dtypes = {name: value.dtype for name, value in self.global_model.items()}
        for cluster in self.others.keys() & averages.keys():
            self.others[cluster] = {n: value.to(dtypes[n]) for n, value in averages[cluster].items()}
        return averages.get("cluster-0", self.global_model)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send all models, from which each client chooses one."""
        sections = {name: to_record(model) for name, model in self.others.items()}
        return self.build_messages(
            RecordDict({ARRAYS: arrays, **sections, CONFIG: config}), MessageType.EVALUATE, grid
        )
