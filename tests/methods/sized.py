"""Clients with models of several sizes and given losses, in float64."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from common.sections import Value
from models.classifier import Classifier
from models.sizes.population import Population
from models.sizes.submodels import Splittable, SubModels
from strategies._run_facts import RunFacts
from strategies.heteroavg import HeteroAvg
from tests.methods.federation import Loss, LossFederation

Values = Mapping[str, Sequence[float]]


class Points(Splittable):
    """Vectors by name; size ``ab`` has the vectors a and b, ``a2`` the first two elements of a."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        self.values = values
        for name, value in values.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value, dtype=torch.float64)))

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def size_name(self, text: str) -> str:
        return text

    def submodel(self, size: str) -> Classifier:
        held: dict[str, Sequence[float]] = {}
        for letter in size:
            if letter.isdigit():
                last = list(held)[-1]
                held[last] = held[last][: int(letter)]
            else:
                held[letter] = self.values[letter]
        return Points(held)

    def width_dimensions(self) -> Mapping[str, tuple[int, ...]]:
        return dict.fromkeys(self.values, (0,))


class SizedFederation(LossFederation):
    """A federation whose clients hold parts of a server model.

    Parameters
    ----------
    method : str
        Name of the method.
    values : Mapping[str, Sequence[float]]
        The server model.
    sizes, losses, steps : sequence
        Per client.
    """

    def __init__(
        self,
        method: str,
        values: Values,
        sizes: Sequence[str],
        losses: Sequence[Loss],
        steps: Sequence[int],
        counts: Sequence[int] | None = None,
        local: Mapping[str, Value] | None = None,
        **parameters: Value,
    ) -> None:
        server = Points(values)
        models = iter([server.submodel(size) for size in sizes])
        super().__init__(method, losses, steps, lambda: next(models), counts, local, **parameters)
        self.model = {name: value.detach().clone() for name, value in server.state_dict().items()}
        strategy = self.strategy
        assert isinstance(strategy, HeteroAvg)
        population = Population(sizes, len(sizes), fixed=sizes)
        nodes = {client_id + 2: client_id for client_id in range(len(sizes))}
        strategy.setup(
            RunFacts(
                len(losses),
                list(values),
                num_examples=self.num_examples,
                client_ids=nodes,
                population=population,
                submodels=SubModels(server, population.sizes),
            )
        )
