"""Clients with models of several sizes and given losses, and relations of their methods, in float64."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors
from common.sections import Value
from models.classifier import Classifier
from models.sizes.population import Population
from models.sizes.submodels import Splittable, SubModels
from strategies._run_facts import RunFacts
from strategies.heteroavg import HeteroAvg
from tests.methods.federation import Loss, LossFederation
from tests.methods.quadratics import LR, Federation, quadratic

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


def slopes(**gradients: float) -> Loss:
    """A linear loss: every step moves an entry by -lr times its gradient."""

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return torch.stack([gradients[name] * value.sum() for name, value in params.items()]).sum()

    return loss


def wells(**minima: float) -> Loss:
    """A sum of parabolas."""

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return torch.stack([((value - minima[name]) ** 2).sum() / 2 for name, value in params.items()]).sum()

    return loss


def three_clients(
    method: str, steps: tuple[int, ...] = (2, 3, 4), **parameters: float | str
) -> SizedFederation:
    losses = [wells(w=5), wells(w=-1, v=2), wells(w=2, v=-3)]
    values, sizes = {"w": [1.0], "v": [4.0]}, ["w", "wv", "wv"]
    return SizedFederation(method, values, sizes, losses, steps, [10, 20, 50], LR, **parameters)


class SizedRelations:
    """Relations of a method for clients of several sizes; a subclass names the method."""

    METHOD: ClassVar[str]

    def test_m12_a_client_without_an_entry_has_no_say_in_it(self) -> None:
        with_it = three_clients(self.METHOD).run_round([0, 1, 2])
        without = three_clients(self.METHOD).run_round([1, 2])
        assert torch.equal(with_it["v"], without["v"])
        assert not torch.equal(with_it["w"], without["w"])

    def test_m17_an_entry_without_holder_stays(self) -> None:
        run = three_clients(self.METHOD)
        for _ in range(2):
            model = run.run_round([0])
            assert model["v"].tolist() == [4.0]
            assert model["w"].tolist() != [1.0]

    def test_parts_of_entries_are_averaged_element_by_element(self) -> None:
        losses = [slopes(w=-1), slopes(w=-3), slopes(w=-5)]
        run = SizedFederation(
            self.METHOD,
            {"w": [0.0, 10.0, 20.0]},
            ["w1", "w2", "w1"],
            losses,
            [1, 1, 1],
            local={"optimizer.learning-rate": 1.0},
        )
        assert run.run_round()["w"].tolist() == pytest.approx([3.0, 13.0, 20.0], abs=1e-12)
        assert run.run_round([0])["w"].tolist()[1:] == pytest.approx([13.0, 20.0], abs=1e-12)


def check_it_is_heteroavg(method: str, **parameters: float) -> None:
    """Compare two rounds with those of HeteroAvg, bit for bit."""
    other, plain = three_clients(method, **parameters), three_clients("heteroavg")
    for cohort in ([0, 1, 2], [0, 2]):
        expected = plain.run_round(cohort)
        assert all(torch.equal(value, expected[name]) for name, value in other.run_round(cohort).items())


def check_one_size(method: str, of_one_size: str, **parameters: float) -> None:
    """Compare a method for several sizes, all of them the same, with that for one and uniform weights."""
    start, steps = [0.3, -0.7], [2, 5]
    quadratics: list[tuple[float, float]] = [(1.0, 1.0), (2.0, -1.0)]
    plain = Federation(
        of_one_size, quadratics, steps, start=start, local=LR, weighting="uniform", **parameters
    )
    losses = [quadratic(h, b) for h, b in quadratics]
    sized = SizedFederation(method, {"w": start}, ["w", "w"], losses, steps, local=LR)
    for _ in range(3):
        assert torch.equal(sized.run_round()["w"], plain.run_round()["w"])
