"""HeteroSCAFFOLD's server half (Chan et al., ICLR 2024, section 5.1; Karimireddy et al. 2020).

arXiv:2308.11464.
"""

from collections.abc import Iterator

import torch
from flwr.app import MetricRecord

from common.config import Config
from common.records import ARRAYS, Payload, Tensors
from strategies._aggregation import WeightedAverage
from strategies._corrections import momentum_advice
from strategies._holders import HolderAverage
from strategies.heteroavg import HeteroAvg

CONTROL = "control"


class HeteroScaffold(HeteroAvg):
    """c[l] <- c[l] + sum_i p_i (c_i+ - c_i)[l], p_i being the weight among all clients whose size holds l.

    It is 1 / N_l, or by examples n_i / sum_j n_j over those N_l clients, whichever take part. With all
    controls zero at the start, c[l] is the mean of their c_i[l] after every round. The model is HeteroAvg's,
    and InCo works on its change alone.
    """

    SECTIONS = frozenset({ARRAYS, CONTROL})
    TRANSIENT = ("_changes",)

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.control: Tensors = {}
        self._changes: HolderAverage | None = None

    def divergence_advice(self, config: Config) -> Iterator[str]:
        """Advise against momentum."""
        return momentum_advice(config)

    def broadcast(self, server_round: int) -> Payload:
        """Send c, zero at first, in the model's precision."""
        return {CONTROL: self.as_trained(self.control)}

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Accumulate changes of controls with the clients' weights in the objective."""
        if name != CONTROL:
            super().accumulate(name, average, section, metrics)
            return
        assert isinstance(average, HolderAverage)
        self._changes = average
        average.add(section, self.client_weight(metrics), self.held)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step the model and the control."""
        assert self._changes is not None
        owners = self._owners()
        for name, total in self._changes.sums().items():
            old = self.control.get(name, torch.zeros_like(total))
            self.control[name] = old + total / owners.weight(name).clamp(min=1)
        return super().update(averages, server_round)

    def _owners(self) -> HolderAverage:
        """Return the total weight of all the run's clients that hold an element, for each element."""
        model = {name: self.global_model[name] for name in self.parameter_names}
        owners = HolderAverage(model)
        if self.population is None:
            owners.add(model, self.total_weight)
            return owners
        is_uniform, examples = self.weighting == "uniform", self.client_examples.numpy()
        for size in self.population.sizes:
            selection = self._selection(size, self._round)
            holders = self.population.has_size(size)
            weight = float(holders.sum() if is_uniform else examples[holders].sum())
            owners.add(selection.take(model), weight, selection)
        return owners
